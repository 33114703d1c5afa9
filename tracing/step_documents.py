"""Builds the steps of a trace from runs and rows. Pure.

A step's name and its text for a person come from `domain.steps`; histories give only its id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from activities.interfaces import StockShare
from domain.sagas import SagaOutcome
from domain.step_ids import parse_activity_id
from domain.steps import Phase, Step, requested_decision
from tracing.documents import AlarmDocument, Result, RoundDocument, RowDocument, StepDocument
from tracing.facts import TEMPORAL_CANCEL, Effect, Handover, LostTask, Request, Round, Run, Timer
from workflows.orders.saga import goods_of
from workflows.visibility import CANCELLATION_WINDOW


@dataclass(frozen=True, slots=True)
class OrderContext:
    """The order, as far as its steps need it. `reason`: why it was aborted. `plan`: which stock is on which shard."""

    order_id: str
    customer_id: str | None
    total: str | None
    reason: str | None
    plan: Sequence[StockShare]

    def share_of(self, step_id: str) -> StockShare | None:
        named = parse_activity_id(step_id)
        return next((share for share in self.plan if named is not None and share.sku_range == named.part), None)


def steps_of(runs: Sequence[Run], effects: Sequence[Effect], order: OrderContext) -> list[StepDocument]:
    """In the order in which they began; steps without a time come last.

    A step of a history carries the row that proves its effect. A row without such a step is a step too: its workflow
    task is not complete or was lost, Temporal has deleted the history, or its activity carried it out unlisted.
    """
    rows = {effect.step_id: effect for effect in effects}
    found: list[StepDocument] = []
    proved: set[str] = set()
    for run in runs:
        for step_id, rounds in _rounds_by_step(run).items():
            proved.add(step_id)
            found.append(_step(run, rounds, rows.get(step_id), order))
        found += _between(run)
    found += [_of_row(effect, runs, order) for step_id, effect in rows.items() if step_id not in proved]
    return sorted(found, key=lambda step: (step.started_at is None, step.started_at or 0))


def stock_plan(runs: Sequence[Run], kept: Any) -> tuple[StockShare, ...]:
    """Which stock is on which shard: from the lookup row, else from the result of the claim in a history."""
    answers = (r.answer for run in runs for r in run.rounds if r.step is Step.CLAIM_ORDER_ID and r.answer)
    shares = kept or next((answer["stock"] for answer in answers), ())
    return tuple(StockShare(**share) for share in shares)


def _rounds_by_step(run: Run) -> dict[str, list[Round]]:
    by_step: dict[str, list[Round]] = {}
    for each in run.rounds:
        by_step.setdefault(each.step_id, []).append(each)
    return by_step


def _step(run: Run, rounds: Sequence[Round], effect: Effect | None, order: OrderContext) -> StepDocument:
    last = rounds[-1]
    share = order.share_of(last.step_id)
    answer = last.answer if isinstance(last.answer, dict) else {}
    refusal = answer.get("refusal") or {}
    attempts = [each.attempts for each in rounds if each.attempts is not None]
    return StepDocument(
        kind="step",
        phase=last.step.phase if last.step is not None else Phase.FORWARD,
        name=last.activity,
        summary=_summary(last, effect, order),
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
        alarm=_alarm(run, last.step_id),
        row=_row(effect),
        workflow_id=run.workflow_id,
        run_id=run.run_id,
    )


def _summary(last: Round, effect: Effect | None, order: OrderContext) -> str:
    """From the step's declaration; the history's own summary only if too little is known for that."""
    step = last.step
    if step is None:
        return last.summary or last.activity
    answer = last.answer if isinstance(last.answer, dict) else {}
    undecided = step is Step.DECIDE_ORDER and effect is None and "outcome" not in answer
    facts = _facts(last.step_id, order)
    if last.summary and (undecided or any(facts.get(name) is None for name in step.facts)):
        return last.summary
    refusal = answer.get("refusal") or {}
    return step.summary(_because(step, effect, refusal.get("reason"), order), **facts)


def _because(step: Step, effect: Effect | None, answered: str | None, order: OrderContext) -> str | None:
    if not step.declared.summary_has_reason:
        return None
    if step is not Step.DECIDE_ORDER:
        return order.reason
    if effect is None:
        return requested_decision(answered)
    return requested_decision(effect.refusal.reason if effect.refusal is not None else None)


def _facts(step_id: str, order: OrderContext) -> dict[str, object]:
    share = order.share_of(step_id)
    return {
        "order_id": order.order_id,
        "customer_id": order.customer_id,
        "total": order.total,
        "goods": goods_of(share) if share is not None else None,
    }


def _result(last: Round, refusal: Mapping[str, Any], effect: Effect | None) -> Result:
    if last.end is None:
        return "pending"
    if last.end != "done":
        return last.end
    # A decision carries the reason that won; it was not refused itself.
    if refusal and last.step is not Step.DECIDE_ORDER:
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


def _alarm(run: Run, step_id: str) -> AlarmDocument | None:
    """The first timer that fired, else the last one set: an operator's retry sets a new one."""
    timers = [timer for timer in run.timers if timer.watches == step_id]
    fired = [timer for timer in timers if timer.end == "fired"]
    if not timers:
        return None
    timer = fired[0] if fired else timers[-1]
    return AlarmDocument(after_seconds=timer.seconds, at=timer.ended_at, result=timer.end or "pending")


def _row(effect: Effect | None) -> RowDocument | None:
    return RowDocument(shard=effect.shard, at=effect.at, undone_at=effect.undone_at) if effect is not None else None


def _of_row(effect: Effect, runs: Sequence[Run], order: OrderContext) -> StepDocument:
    named = parse_activity_id(effect.step_id)
    step = named.step if named is not None else None
    refused = effect.refusal is not None and step is not Step.DECIDE_ORDER
    result: Result = "refused" if refused else "undone" if effect.undone_at else "done"
    run = next((run for run in reversed(runs) if effect.at is not None and run.started_at <= effect.at), None)
    # Without a reason: the document has a field for it.
    goods = _facts(effect.step_id, order)["goods"]
    return StepDocument(
        kind="step",
        phase=step.phase if step is not None else Phase.FORWARD,
        name=effect.name,
        summary=step.summary(goods=goods) if step is not None else effect.name,
        shard=effect.shard,
        result="nothing_to_undo" if effect.nothing_to_undo else result,
        reason=effect.refusal.reason if effect.refusal else None,
        detail=effect.refusal.detail if effect.refusal else None,
        started_at=effect.at,
        row=_row(effect),
        workflow_id=run.workflow_id if run else None,
        run_id=run.run_id if run else None,
    )


# ── what happened between the steps ───────────────────────────────────────────────────────────────────────────────


def _between(run: Run) -> Iterator[StepDocument]:
    for timer in run.timers:
        if timer.watches is None:
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
        summary=CANCELLATION_WINDOW if run.is_cancellation_window(timer) else timer.summary,
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
        summary=f"requested: {request.name}",
        detail=f"answered: {_rendered_result(request.answer)}" if answered else None,
        result="failed" if request.failure else "done" if answered or request.name == TEMPORAL_CANCEL else "pending",
        failure=request.failure,
        started_at=request.requested_at,
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
        summary = f"{before} stopped taking tasks: it died or hung" + (f"; {after} went on" if after else "")
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
    decided = next((each for each in run.rounds if each.step is Step.DECIDE_ORDER and each.end == "done"), None)
    if decided is None or moment < decided.started_at:
        return Phase.FORWARD
    return Phase.COMPLETION if decided.answer["outcome"] == SagaOutcome.CONFIRMED else Phase.COMPENSATION


def _rendered_result(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer)
    refusal = answer.get("refusal") or {}
    return ", ".join(str(part) for part in (answer.get("outcome"), refusal.get("reason")) if part)


def _seconds(start: datetime, end: datetime | None) -> float | None:
    return None if end is None else max((end - start).total_seconds(), 0.0)
