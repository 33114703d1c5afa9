"""From an order's id to its trace: queries Temporal and every shard at once, each with its own time limit."""

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
from tracing.step_documents import OrderContext, steps_of, stock_plan
from tracing.workflow_runs import read_runs, read_workflows
from workflows.orders.saga import workflow_id

ConnectTemporal = Callable[[], Awaitable[Client]]

SHARD_SECONDS = 3.0
TEMPORAL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the sources returned. `runs` None: Temporal did not answer. `rows`: by shard, None if it did not answer."""

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
        """From its row; without one, from the names of its workflows."""
        if self.order is not None:
            return self.order.style
        others = any(saga_id_of(run.workflow_id) != run.workflow_id for run in self.runs or ())
        return Style.CHOREOGRAPHED if others else Style.ORCHESTRATED

    def without_other_style(self) -> Evidence:
        """Without the workflow of a repeat in the other style, which found the order begun in this one."""
        if self.runs is None:
            return self
        is_orchestrated = self.style is Style.ORCHESTRATED
        own = [run for run in self.runs if (saga_id_of(run.workflow_id) == run.workflow_id) is is_orchestrated]
        return replace(self, runs=own)

    @property
    def event_rows(self) -> list[tuple[str, EventRow]]:
        """Each with its shard."""
        return [(rows.shard, event) for rows in self.rows.values() if rows for event in rows.events]

    @property
    def effects(self) -> list[Effect]:
        return [effect for rows in self.rows.values() if rows for effect in effects_of(rows)]


async def trace_order(cluster: Cluster, temporal: ConnectTemporal, order_id: str) -> TraceDocument:
    """`temporal` connects to Temporal. Raises `Refused` with `unknown_order` if every source answers and none has the
    order, `Unreachable` if a source that might have it does not answer."""
    check_identifier(order_id, "order_id")
    shards = cluster.primaries.values()
    runs, rows = await asyncio.gather(
        _runs(temporal, order_id), asyncio.gather(*(_rows(each, order_id) for each in shards))
    )
    evidence = Evidence(order_id, runs, dict(zip(cluster.primaries, rows, strict=True))).without_other_style()
    if not evidence.runs and not evidence.effects:
        raise _unknown(evidence)
    return document_of(evidence)


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


def document_of(evidence: Evidence) -> TraceDocument:
    order, runs = evidence.order, evidence.runs or ()
    decision = _decision(runs, evidence.effects)
    refusal = _refusal(evidence, decision)
    temporal: Literal["answered", "forgotten", "away"] = "away" if evidence.runs is None else "answered"
    request: dict[str, Any] = next((run.input["order"] for run in reversed(runs) if "order" in (run.input or ())), {})
    row = order or evidence.lookup
    customer_id = row.customer_id if row else request.get("customer_id")
    plan = stock_plan(runs, evidence.lookup.stock_plan if evidence.lookup else None)
    reason = refusal.reason if refusal else None
    steps = steps_of(
        runs, evidence.effects, OrderContext(evidence.order_id, customer_id, _total(evidence), reason, plan)
    )
    return TraceDocument(
        order_id=evidence.order_id,
        saga_id=order_saga_id(evidence.order_id),
        style=evidence.style,
        status=_status(evidence),
        reason=reason,
        detail=refusal.detail if refusal else None,
        customer_id=customer_id,
        total=order.total.amount if order else None,
        currency=order.total.currency if order else request.get("currency"),
        started_at=min((run.started_at for run in runs), default=steps[0].started_at if steps else None),
        decision=decision,
        events=events_of(evidence.order_id, evidence.event_rows, runs) if evidence.style is Style.CHOREOGRAPHED else [],
        steps=steps,
        runs=[_run(run) for run in runs],
        sources=SourcesDocument(
            temporal="forgotten" if temporal == "answered" and not runs else temporal,
            shards={shard: "away" if rows is None else "answered" for shard, rows in evidence.rows.items()},
        ),
        now=datetime.now(UTC),
    )


def _status(evidence: Evidence) -> OrderStatus | None:
    """The row's. From the workflow's search attribute: `stuck`, which no row has, and any status while the row's shard
    does not answer."""
    current = evidence.runs[-1] if evidence.runs else None
    is_stuck = any(run.closed_at is None and run.order_status == OrderStatus.STUCK for run in evidence.runs or ())
    order_status = OrderStatus(current.order_status) if current and current.order_status else None
    refused = evidence.lookup.refusal if evidence.lookup else None
    if evidence.order is not None:
        status = OrderStatus.of_state(evidence.order.state)
        return OrderStatus.STUCK if is_stuck and not evidence.order.state.is_final else status
    if refused is not None:
        return OrderStatus.of_state(closing_state(refused.reason))
    return order_status or (None if evidence.away else OrderStatus.PENDING)


def _refusal(evidence: Evidence, decision: DecisionDocument | None) -> Refusal | None:
    if evidence.order is not None:
        return evidence.order.refusal
    if evidence.lookup is not None and evidence.lookup.refusal is not None:
        return evidence.lookup.refusal
    if decision is not None and decision.reason is not None:
        return Refusal(Reason(decision.reason), decision.detail or "")
    return None


def _total(evidence: Evidence) -> str | None:
    """The row's; while its shard does not answer, from the result of the decision, or from an event."""
    if evidence.order is not None:
        return str(evidence.order.total)
    answered = (each.answer.get("total") for each in _decided(evidence.runs or ()))
    in_events = (
        run.input["choreography"]["total"] for run in evidence.runs or () if "choreography" in (run.input or ())
    )
    return next((total for total in (*answered, *in_events) if total is not None), None)


def _decided(runs: Sequence[Run]) -> list[Round]:
    return [each for run in runs for each in run.rounds if each.step is Step.DECIDE_ORDER and each.end == "done"]


def _decision(runs: Sequence[Run], effects: Sequence[Effect]) -> DecisionDocument | None:
    """The row's, which decides; if its shard does not answer, the result of `decide_order` in a history."""
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


def _unknown(evidence: Evidence) -> Refused | Unreachable:
    away = [*evidence.away, *(["Temporal"] if evidence.runs is None else [])]
    if not away:
        return NotFound("unknown_order", f"there is no order {evidence.order_id}")
    code = "shard_unreachable" if evidence.away else "temporal_unreachable"
    message = f"no source that answers has order {evidence.order_id}; no answer from {', '.join(away)}, which might"
    return Unreachable(code, message)
