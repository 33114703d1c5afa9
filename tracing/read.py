"""From an order's id to its trace: asks Temporal and every shard at once, each with its own time limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from temporalio.client import Client
from temporalio.service import RPCError

from domain.choreography import saga_id_of
from domain.errors import NotFound, Refused, Unreachable
from domain.identifiers import check_identifier, order_saga_id
from domain.orders import OrderStatus, Style, closing_state
from domain.sagas import Reason, Refusal, SagaOutcome
from domain.steps import Step
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.connections.waiting import within
from shards.sagas.saga_rows import DatedOrder, EventRow, LookupRow, SagaRows, read_saga
from tracing.documents import (
    DecisionDocument,
    RunDocument,
    SourcesDocument,
    TaskDocument,
    TraceDocument,
)
from tracing.events import events_of
from tracing.facts import Effect, Round, Run
from tracing.shard_effects import effects_of
from tracing.story import About, steps_of, stock_plan
from tracing.workflow_runs import read_runs, read_workflows
from workflows.orders.saga import workflow_id

ConnectTemporal = Callable[[], Awaitable[Client]]

SHARD_SECONDS = 3.0
TEMPORAL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Known:
    """What the sources told. `runs` None: Temporal is away. `rows`: None for a shard that is away."""

    order_id: str
    runs: Sequence[Run] | None
    rows: dict[str, SagaRows | None]

    @property
    def away(self) -> list[str]:
        return [shard for shard, rows in self.rows.items() if rows is None]

    @property
    def lookup(self) -> LookupRow | None:
        return next((rows.lookup for rows in self.rows.values() if rows and rows.lookup), None)

    @property
    def order(self) -> DatedOrder | None:
        return next((rows.order for rows in self.rows.values() if rows and rows.order), None)

    @property
    def style(self) -> Style:
        """As its row has it; without one, as its workflows are called."""
        if self.order is not None:
            return self.order.style
        others = any(saga_id_of(run.workflow_id) != run.workflow_id for run in self.runs or ())
        return Style.CHOREOGRAPHED if others else Style.ORCHESTRATED

    def of_its_style(self) -> Known:
        """Without the workflow of a repeat in the other style, which only found it begun in this one."""
        if self.runs is None:
            return self
        led = self.style is Style.ORCHESTRATED
        own = [run for run in self.runs if (saga_id_of(run.workflow_id) == run.workflow_id) is led]
        return replace(self, runs=own)

    @property
    def event_rows(self) -> list[tuple[str, EventRow]]:
        """Each with its shard."""
        return [(rows.shard, event) for rows in self.rows.values() if rows for event in rows.events]

    @property
    def effects(self) -> list[Effect]:
        return [effect for rows in self.rows.values() if rows for effect in effects_of(rows)]


async def trace_order(cluster: Cluster, temporal: ConnectTemporal, order_id: str) -> TraceDocument:
    """`temporal` connects. `Refused` with `unknown_order` where nobody knows it, `Unreachable` where somebody who might
    is away."""
    check_identifier(order_id, "order_id")
    shards = cluster.primaries.values()
    runs, rows = await asyncio.gather(
        _runs(temporal, order_id), asyncio.gather(*(_rows(each, order_id) for each in shards))
    )
    known = Known(order_id, runs, dict(zip(cluster.primaries, rows, strict=True))).of_its_style()
    if not known.runs and not known.effects:
        raise _unknown(known)
    return document_of(known)


async def _runs(temporal: ConnectTemporal, order_id: str) -> Sequence[Run] | None:
    async def read() -> Sequence[Run]:
        client = await temporal()
        both = await asyncio.gather(
            read_runs(client, workflow_id(order_id)), read_workflows(client, order_saga_id(order_id))
        )
        return sorted((run for runs in both for run in runs), key=lambda run: run.started_at)

    try:
        return await within(read(), TEMPORAL_SECONDS)
    except (TimeoutError, RPCError, Unreachable):
        return None


async def _rows(shard: Database, order_id: str) -> SagaRows | None:
    try:
        return await within(read_saga(shard, order_saga_id(order_id), order_id), SHARD_SECONDS)
    except (TimeoutError, Unreachable):
        return None


def document_of(known: Known) -> TraceDocument:
    order, runs = known.order, known.runs or ()
    decision = _decision(runs, known.effects)
    refusal = _refusal(known, decision)
    temporal: Literal["answered", "forgotten", "away"] = "away" if known.runs is None else "answered"
    asked: dict[str, Any] = next((run.asked["order"] for run in reversed(runs) if "order" in (run.asked or ())), {})
    whose = order or known.lookup
    customer_id = whose.customer_id if whose else asked.get("customer_id")
    plan = stock_plan(runs, known.lookup.stock_plan if known.lookup else None)
    reason = refusal.reason if refusal else None
    steps = steps_of(runs, known.effects, About(known.order_id, customer_id, _total(known), reason, plan))
    return TraceDocument(
        order_id=known.order_id,
        saga_id=order_saga_id(known.order_id),
        style=known.style,
        status=_status(known),
        reason=reason,
        detail=refusal.detail if refusal else None,
        customer_id=customer_id,
        total=order.total.amount if order else None,
        currency=order.total.currency if order else asked.get("currency"),
        started_at=min((run.started_at for run in runs), default=steps[0].started_at if steps else None),
        decision=decision,
        events=events_of(known.order_id, known.event_rows, runs) if known.style is Style.CHOREOGRAPHED else [],
        steps=steps,
        runs=[_run(run) for run in runs],
        sources=SourcesDocument(
            temporal="forgotten" if temporal == "answered" and not runs else temporal,
            shards={shard: "away" if rows is None else "answered" for shard, rows in known.rows.items()},
        ),
        now=datetime.now(UTC),
    )


def _status(known: Known) -> OrderStatus | None:
    """As the row says. What only the workflow can know, it told last: `stuck`, and all of it while the row is away."""
    current = known.runs[-1] if known.runs else None
    is_stuck = any(run.closed_at is None and run.order_status == OrderStatus.STUCK for run in known.runs or ())
    order_status = OrderStatus(current.order_status) if current and current.order_status else None
    refused = known.lookup.refusal if known.lookup else None
    if known.order is not None:
        status = OrderStatus.of_state(known.order.state)
        return OrderStatus.STUCK if is_stuck and not known.order.state.is_final else status
    if refused is not None:
        return OrderStatus.of_state(closing_state(refused.reason))
    return order_status or (None if known.away else OrderStatus.PENDING)


def _refusal(known: Known, decision: DecisionDocument | None) -> Refusal | None:
    if known.order is not None:
        return known.order.refusal
    if known.lookup is not None and known.lookup.refusal is not None:
        return known.lookup.refusal
    if decision is not None and decision.reason is not None:
        return Refusal(Reason(decision.reason), decision.detail or "")
    return None


def _total(known: Known) -> str | None:
    """The row's; while its shard is away, what it answered to a workflow, or told in an event."""
    if known.order is not None:
        return str(known.order.total)
    answered = (each.answer.get("total") for each in _decided(known.runs or ()))
    told = (run.asked["choreography"]["total"] for run in known.runs or () if "choreography" in (run.asked or ()))
    return next((total for total in (*answered, *told) if total is not None), None)


def _decided(runs: Sequence[Run]) -> list[Round]:
    return [each for run in runs for each in run.rounds if each.step is Step.DECIDE_ORDER and each.end == "done"]


def _decision(runs: Sequence[Run], effects: Sequence[Effect]) -> DecisionDocument | None:
    """The row's, which decides; where its shard is away, what it answered to the workflow."""
    row = next((effect for effect in effects if effect.name == Step.DECIDE_ORDER), None)
    if row is not None:
        reason, detail = (row.refusal.reason, row.refusal.detail) if row.refusal else (None, None)
        outcome = row.outcome or SagaOutcome.ABORTING
        return DecisionDocument(outcome=outcome, reason=reason, detail=detail, at=row.at, shard=row.shard)
    rounds = _decided(runs)
    if not rounds:
        return None
    answer = rounds[0].answer
    refusal = answer.get("refusal") or {}
    return DecisionDocument(
        outcome=answer["outcome"],
        reason=refusal.get("reason"),
        detail=refusal.get("detail"),
        at=rounds[0].ended_at,
        shard=None,
    )


def _run(run: Run) -> RunDocument:
    task = run.waiting_task
    return RunDocument(
        workflow_id=run.workflow_id,
        run_id=run.run_id,
        status=run.status,
        why=run.why,
        started_at=run.started_at,
        ended_at=run.closed_at,
        seconds=(run.closed_at - run.started_at).total_seconds() if run.closed_at else None,
        task=TaskDocument(state="begun" if task.begun else "waiting", since=task.since) if task else None,
    )


def _unknown(known: Known) -> Refused | Unreachable:
    away = [*known.away, *(["Temporal"] if known.runs is None else [])]
    if not away:
        return NotFound("unknown_order", f"there is no order {known.order_id}")
    code = "shard_unreachable" if known.away else "temporal_unreachable"
    message = f"nobody who answers knows order {known.order_id}; no answer from {', '.join(away)}, who might"
    return Unreachable(code, message)
