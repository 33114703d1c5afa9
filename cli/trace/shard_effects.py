"""Turns the shards' rows of one order's saga into the steps that they prove."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import TypeAdapter

from cli.trace.facts import Effect
from domain.orders import OrderState, Style
from domain.sagas import Outcome, Refusal
from shards.orders import OPEN_STEP, REACTION_STEPS
from shards.saga_rows import BarrierRow, DatedOrder, LookupRow, SagaRows

# By step of the barrier: the activity that does it, and the one that undoes it.
_ACTIVITIES = {OPEN_STEP: ("open_order", "abort_order"), "reserve_stock": ("reserve_stock", "release_stock")}
_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)


def effects_of(rows: SagaRows) -> list[Effect]:
    """In no order. A step that was only barred from running is no effect of its own."""
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
    choreographed = rows.order is not None and rows.order.style is Style.CHOREOGRAPHED
    for step, ops in by_step.items():
        if step in REACTION_STEPS:
            yield from _of_reaction(rows.shard, step, ops)
        else:
            yield from _of_step(rows.shard, step, ops, choreographed)


def _of_reaction(shard: str, step: str, ops: Mapping[str, BarrierRow]) -> Iterator[Effect]:
    """What the order's row took from a service. Closing the order bars all of these, and undoes none of them."""
    do, undo = ops.get("do"), ops.get("undo")
    if do is not None and (undo is None or do.created_at != undo.created_at):
        yield Effect(step, shard, do.created_at, refusal=_REFUSAL.validate_python(do.result))


def _of_step(shard: str, step: str, ops: Mapping[str, BarrierRow], choreographed: bool) -> Iterator[Effect]:
    name, slash, sku_range = step.partition("/")
    where = sku_range if slash else None
    does, undoes = _ACTIVITIES.get(name, (name, f"undo {name}"))
    if choreographed and name == OPEN_STEP:
        does = "place_order"
    do, undo = ops.get("do"), ops.get("undo")
    # An undo that came first has claimed both rows in one transaction, so at one instant.
    barred = do is not None and undo is not None and do.created_at == undo.created_at
    refusal = _REFUSAL.validate_python(do.result) if do is not None else None
    if do is not None and not barred:
        yield Effect(does, shard, do.created_at, where, refusal, undone_at=undo.created_at if undo else None)
    if undo is None:
        return
    reason = _REFUSAL.validate_python(undo.result)
    if name == OPEN_STEP and reason is not None:
        # Only a decision without a row to decide on leaves a reason here.
        yield Effect("decide_order", shard, undo.created_at, refusal=reason, outcome=Outcome.ABSENT)
    else:
        # A refused opening leaves an order to be closed; a refused reservation leaves nothing.
        nothing = barred or (refusal is not None and name != OPEN_STEP)
        yield Effect(undoes, shard, undo.created_at, where, nothing_to_undo=nothing)


def _of_lookup(shard: str, lookup: LookupRow) -> Iterator[Effect]:
    yield Effect("claim_order_id", shard, lookup.created_at)
    if lookup.refusal is not None:
        yield Effect("refuse_order_id", shard, None)


def _decision(shard: str, order: DatedOrder) -> Effect:
    outcome = Outcome.CONFIRMED if order.state is OrderState.CONFIRMED else Outcome.ABORTING
    return Effect("decide_order", shard, order.decided_at, refusal=order.refusal, outcome=outcome)
