"""Puts a trace together from what its sources tell. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from activities.interfaces import StockShare
from cli.trace.documents import AlarmDocument, Phase, Result, RoundDocument, RowDocument, StepDocument
from cli.trace.facts import TEMPORAL_CANCEL, Effect, Handover, LostTask, Request, Round, Run, Timer
from domain.sagas import Outcome
from workflows.compensation import watched_step
from workflows.order_saga import told

PHASES: Mapping[str, Phase] = {
    "decide_order": "decision",
    "consume_stock": "completion",
    "credit_merchant": "completion",
    "release_stock": "compensation",
    "join_release": "compensation",
    "abort_order": "compensation",
    "refuse_order_id": "compensation",
}
"""Of all other steps: `forward`."""

_STOCK_VERBS = {"reserve_stock": "reserve", "release_stock": "release", "consume_stock": "consume"}
_ROW_ONLY = {
    "claim_order_id": "claim the order id",
    "open_order": "open the order and hold the payment",
    "place_order": "place the order",
    "join_stock": "note what all stock shards answered",
    "hold_payment": "hold the payment",
    "join_release": "all stock is released",
    "decide_order": "decide",
    "credit_merchant": "credit the merchant",
    "abort_order": "release the held payment and close the order",
    "refuse_order_id": "keep the reason beside the order id",
}

Key = tuple[str, str | None]
"""A step of an order's saga: its activity, and the SKU range it is about."""


def steps_of(runs: Sequence[Run], effects: Sequence[Effect], plan: Sequence[StockShare]) -> list[StepDocument]:
    """In the order in which they began; what has no time comes last.

    A step of a history carries the row that proves its effect. A row without such a step is a step too: its workflow
    task is not complete, was lost, or Temporal has forgotten it.
    """
    rows = {(effect.activity, effect.sku_range): effect for effect in effects}
    ranges = {f"{verb} {told(share)}": share for share in plan for verb in _STOCK_VERBS.values()}
    found: list[StepDocument] = []
    proved: set[Key] = set()
    for run in runs:
        for rounds in _rounds_by_step(run):
            share = ranges.get(rounds[0].summary)
            key = (rounds[0].activity, share.sku_range if share else None)
            proved.add(key)
            found.append(_step(run, rounds, share, rows.get(key)))
        found += _between(run)
    found += [_of_row(effect, runs, plan) for key, effect in rows.items() if key not in proved]
    return sorted(found, key=lambda step: (step.started_at is None, step.started_at or 0))


def stock_plan(runs: Sequence[Run], kept: Any) -> tuple[StockShare, ...]:
    """Which stock lies where: as the lookup row keeps it, else as the claim answered it to the workflow."""
    answers = (r.answer for run in runs for r in run.rounds if r.activity == "claim_order_id" and r.answer)
    shares = kept or next((answer["stock"] for answer in answers), ())
    return tuple(StockShare(**share) for share in shares)


def _rounds_by_step(run: Run) -> list[list[Round]]:
    by_step: dict[tuple[str, str], list[Round]] = {}
    for each in run.rounds:
        by_step.setdefault((each.activity, each.summary), []).append(each)
    return list(by_step.values())


def _step(run: Run, rounds: Sequence[Round], share: StockShare | None, effect: Effect | None) -> StepDocument:
    last = rounds[-1]
    answer = last.answer if isinstance(last.answer, dict) else {}
    refusal = answer.get("refusal") or {}
    attempts = [each.attempts for each in rounds if each.attempts is not None]
    return StepDocument(
        kind="step",
        phase=PHASES.get(last.activity, "forward"),
        name=last.activity,
        summary=last.summary,
        shard=effect.shard if effect else share.shard if share else None,
        result=_result(last, refusal, effect),
        reason=refusal.get("reason"),
        detail=refusal.get("detail"),
        started_at=rounds[0].started_at,
        ended_at=last.ended_at,
        seconds=_seconds(rounds[0].started_at, last.ended_at),
        attempts=sum(attempts) if attempts else None,
        failure=next((each.failure for each in reversed(rounds) if each.failure), None),
        next_attempt_at=last.next_attempt_at,
        rounds=[_round(each) for each in rounds],
        alarm=_alarm(run, last.summary),
        row=_row(effect),
        workflow_id=run.workflow_id,
        run_id=run.run_id,
    )


def _result(last: Round, refusal: Mapping[str, Any], effect: Effect | None) -> Result:
    if last.end is None:
        return "pending"
    if last.end != "done":
        return last.end
    # A decision carries the reason that won; it was not refused itself.
    if refusal and last.activity != "decide_order":
        return "refused"
    if effect is not None and effect.undone_at is not None:
        return "undone"
    return "nothing_to_undo" if effect is not None and effect.nothing_to_undo else "done"


def _round(each: Round) -> RoundDocument:
    return RoundDocument(
        kind="local" if each.local else "regular",
        started_at=each.started_at,
        ended_at=each.ended_at,
        attempts=each.attempts,
        result=each.end or "pending",
        failure=each.failure,
    )


def _alarm(run: Run, summary: str) -> AlarmDocument | None:
    """The first that fired, else the last one set: an operator's retry sets a new one."""
    timers = [timer for timer in run.timers if watched_step(timer.summary) == summary]
    fired = [timer for timer in timers if timer.end == "fired"]
    if not timers:
        return None
    timer = fired[0] if fired else timers[-1]
    return AlarmDocument(after_seconds=timer.seconds, at=timer.ended_at, result=timer.end or "pending")


def _row(effect: Effect | None) -> RowDocument | None:
    return RowDocument(shard=effect.shard, at=effect.at, undone_at=effect.undone_at) if effect is not None else None


def _of_row(effect: Effect, runs: Sequence[Run], plan: Sequence[StockShare]) -> StepDocument:
    share = next((share for share in plan if share.sku_range == effect.sku_range), None)
    verb = _STOCK_VERBS.get(effect.activity)
    summary = _ROW_ONLY.get(effect.activity, effect.activity)
    if verb is not None:
        summary = f"{verb} {told(share) if share else 'the stock of one range'}"
    is_decision = effect.activity == "decide_order"
    refused = effect.refusal is not None and not is_decision
    result: Result = "refused" if refused else "undone" if effect.undone_at else "done"
    run = next((run for run in reversed(runs) if effect.at is not None and run.started_at <= effect.at), None)
    return StepDocument(
        kind="step",
        phase=PHASES.get(effect.activity, "forward"),
        name=effect.activity,
        summary=summary,
        shard=effect.shard,
        result="nothing_to_undo" if effect.nothing_to_undo else result,
        reason=effect.refusal.reason if effect.refusal else None,
        detail=effect.refusal.detail if effect.refusal else None,
        started_at=effect.at,
        row=_row(effect),
        workflow_id=run.workflow_id if run else None,
        run_id=run.run_id if run else None,
    )


# ── what comes between the steps ────────────────────────────────────────────────────────────────────────────────


def _between(run: Run) -> Iterator[StepDocument]:
    for timer in run.timers:
        if watched_step(timer.summary) is None:
            yield _timer(run, timer)
    for request in run.requests:
        yield _request(run, request)
    for lost in run.lost_tasks:
        yield _lost(run, lost)
    for handover in run.handovers:
        yield _handover(run, handover)


def _timer(run: Run, timer: Timer) -> StepDocument:
    return _event(
        run,
        kind="timer",
        name="timer",
        summary=timer.summary,
        detail=f"set for {timer.seconds:g} s",
        result=timer.end or "pending",
        started_at=timer.started_at,
        ended_at=timer.ended_at,
    )


def _request(run: Run, request: Request) -> StepDocument:
    answered = request.failure is None and request.answered_at is not None
    return _event(
        run,
        kind="request",
        name=request.name,
        summary=f"asked for: {request.name}",
        detail=f"answered: {_told_answer(request.answer)}" if answered else None,
        result="failed" if request.failure else "done" if answered or request.name == TEMPORAL_CANCEL else "pending",
        failure=request.failure,
        started_at=request.asked_at,
        ended_at=request.answered_at,
    )


def _lost(run: Run, lost: LostTask) -> StepDocument:
    return _event(
        run,
        kind="lost_task",
        name="workflow task",
        summary="a workflow task was lost: its local steps run again, and get their stored answers",
        result="failed",
        failure=lost.why,
        started_at=lost.started_at,
        ended_at=lost.lost_at,
    )


def _handover(run: Run, handover: Handover) -> StepDocument:
    before, after = handover.before or "its worker", handover.after
    if after == before:
        summary = f"{before} was slow to take a task, and went on"
    else:
        summary = f"{before} took no task any more: it died or hung" + (f"; {after} went on" if after else "")
    return _event(
        run,
        kind="handover",
        name="workflow task",
        summary=summary,
        result="pending" if after is None else "done",
        started_at=handover.due_at,
        ended_at=handover.given_up_at,
    )


def _event(run: Run, started_at: datetime, ended_at: datetime | None, **fields: Any) -> StepDocument:
    return StepDocument(
        phase=_phase_at(run, started_at),
        started_at=started_at,
        ended_at=ended_at,
        seconds=_seconds(started_at, ended_at),
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        **fields,
    )


def _phase_at(run: Run, moment: datetime) -> Phase:
    decided = next((each for each in run.rounds if each.activity == "decide_order" and each.end == "done"), None)
    if decided is None or moment < decided.started_at:
        return "forward"
    return "completion" if decided.answer["outcome"] == Outcome.CONFIRMED else "compensation"


def _told_answer(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer)
    refusal = answer.get("refusal") or {}
    return ", ".join(str(part) for part in (answer.get("outcome"), refusal.get("reason")) if part)


def _seconds(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else max((end - start).total_seconds(), 0.0)
