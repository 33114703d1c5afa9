"""Turns the shards' rows of one order's saga into the steps that they prove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter

from domain.orders import OrderState, Style
from domain.sagas import Refusal, SagaOutcome
from domain.step_ids import NamedStep, step_of_barrier
from domain.steps import Step
from shards.sagas.saga_rows import BarrierRow, DatedOrder, LookupRow, SagaRows
from tracing.facts import Effect

_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)


def effects_of(rows: SagaRows) -> list[Effect]:
    """In no particular order. A step that was only barred from running is not an effect."""
    effects = list(_of_barrier(rows))
    if rows.lookup is not None:
        effects += _of_lookup(rows.shard, rows.lookup)
    if rows.order is not None and rows.order.decided_at is not None:
        effects.append(_decision(rows.shard, rows.order))
    return effects


def _of_barrier(rows: SagaRows) -> Iterator[Effect]:
    by_step: dict[str, dict[str, BarrierRow]] = {}
    for row in rows.barrier:
        by_step.setdefault(row.step, {})[row.op] = row
    style = rows.order.style if rows.order is not None else Style.ORCHESTRATED
    for row_name, ops in by_step.items():
        named = step_of_barrier(row_name, style)
        if named is None:
            yield from _of_unknown(rows.shard, row_name, ops)
        elif named.step.declared.is_record:
            yield from _of_record(rows.shard, named.step, ops)
        else:
            yield from _of_step(rows.shard, named, ops)


def _of_record(shard: str, step: Step, ops: Mapping[str, BarrierRow]) -> Iterator[Effect]:
    """What a service recorded on the order's row. Closing the order bars all of these, and undoes none of them."""
    do, undo = ops.get("do"), ops.get("undo")
    if do is not None and (undo is None or do.created_at != undo.created_at):
        yield Effect.of(step, None, shard, do.created_at, refusal=_REFUSAL.validate_python(do.result))


def _of_step(shard: str, named: NamedStep, ops: Mapping[str, BarrierRow]) -> Iterator[Effect]:
    step, part = named.step, named.part
    opens = step.barrier is Step.OPEN_ORDER
    do, undo = ops.get("do"), ops.get("undo")
    # An undo that came first wrote both rows in one transaction, so with one time.
    barred = do is not None and undo is not None and do.created_at == undo.created_at
    refusal = _REFUSAL.validate_python(do.result) if do is not None else None
    if do is not None and not barred:
        undone_at = undo.created_at if undo is not None else None
        yield Effect.of(step, part, shard, do.created_at, refusal=refusal, undone_at=undone_at)
    if undo is None or step.undone_by is None:
        return
    reason = _REFUSAL.validate_python(undo.result)
    if opens and reason is not None:
        # Only a decision that found no order row leaves a reason here.
        yield Effect.of(Step.DECIDE_ORDER, None, shard, undo.created_at, refusal=reason, outcome=SagaOutcome.ABSENT)
    else:
        # A refused opening leaves an order to be closed; a refused reservation leaves nothing.
        nothing = barred or (refusal is not None and not opens)
        yield Effect.of(step.undone_by, part, shard, undo.created_at, nothing_to_undo=nothing)


def _of_unknown(shard: str, row_name: str, ops: Mapping[str, BarrierRow]) -> Iterator[Effect]:
    """A step that only another release knows."""
    for op, row in ops.items():
        name = row_name if op == "do" else f"{op} {row_name}"
        yield Effect(f"{row_name}/{op}", name, shard, row.created_at)


def _of_lookup(shard: str, lookup: LookupRow) -> Iterator[Effect]:
    yield Effect.of(Step.CLAIM_ORDER_ID, None, shard, lookup.created_at)
    if lookup.refusal is not None:
        yield Effect.of(Step.REFUSE_ORDER_ID, None, shard, None)


def _decision(shard: str, order: DatedOrder) -> Effect:
    outcome = SagaOutcome.CONFIRMED if order.state is OrderState.CONFIRMED else SagaOutcome.ABORTING
    return Effect.of(Step.DECIDE_ORDER, None, shard, order.decided_at, refusal=order.refusal, outcome=outcome)
