"""Judges one saga across the shards. Pure: facts in, faults out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from domain.orders import OrderState
from domain.step_ids import step_of_barrier
from domain.steps import Phase
from shards.audit.findings import Check, Fault, Violation
from shards.audit.local.rules import amount_text
from shards.audit.sagas.facts import LegFact, OrderFact, ReservationFact, SagaFacts
from shards.audit.sagas.transfer_judgement import transfer_faults


def judge(saga: SagaFacts) -> list[Fault]:
    """The faults of a saga. Empty if it has ended and left everything as it should be."""
    faults = list(_clearing_faults(saga))
    if saga.is_transfer:
        return [*faults, *transfer_faults(saga)]
    if saga.order_id is None:
        for reservation in saga.reservations:
            what = f"{reservation.sku} is {reservation.state} for {saga.saga_id}, which is no order"
            faults.append(_stock_fault(saga, reservation, what))
        return faults
    return [*faults, *_order_faults(saga), *_stock_faults(saga), *_orphan_faults(saga)]


def unpaired_first(saga: SagaFacts) -> LegFact | None:
    """The leg whose money has left one shard and not yet arrived on another."""
    roles = {leg.role for leg in saga.legs}
    return saga.legs[0] if roles == {"first"} else None


# ── clearing ────────────────────────────────────────────────────────────────────────────────────────────────


def _clearing_faults(saga: SagaFacts) -> Iterator[Fault]:
    saga_id = saga.saga_id
    firsts = [leg for leg in saga.legs if leg.role == "first"]
    seconds = [leg for leg in saga.legs if leg.role == "second"]
    for role, legs in (("first", firsts), ("second", seconds)):
        if len(legs) > 1:
            shards = ", ".join(leg.shard for leg in legs)
            yield _leg_fault(saga, legs[1], f"{saga_id} has more than one {role} leg: on {shards}")
    if seconds and not firsts:
        what = f"{saga_id} brought {_amount(seconds[0], -1)} to {seconds[0].shard}, but no shard sent it"
        yield _leg_fault(saga, seconds[0], what)
    if firsts and not seconds:
        what = f"{saga_id} sent {_amount(firsts[0])} from {firsts[0].shard}, it never arrived and nobody works on it"
        yield _leg_fault(saga, firsts[0], what, while_open=True)
    if firsts and seconds:
        sent, arrived = firsts[0], seconds[0]
        if (sent.currency, sent.amount) != (arrived.currency, -arrived.amount):
            what = f"{saga_id} sent {_amount(sent)} from {sent.shard}, but {_amount(arrived, -1)} arrived"
            yield _leg_fault(saga, arrived, what)
    if saga.order_id is not None:
        yield from _capture_faults(saga, firsts)


def _capture_faults(saga: SagaFacts, firsts: list[LegFact]) -> Iterator[Fault]:
    order = saga.orders[0] if saga.orders else None
    paid = order is not None and order.state == OrderState.CONFIRMED
    if not paid:
        state = order.state if order is not None else "nowhere"
        for leg in firsts:
            what = f"{_amount(leg)} was captured for {saga.saga_id}, but its order is {state}"
            yield _leg_fault(saga, leg, what)
    elif order is not None:
        captured = sum(leg.amount for leg in firsts if leg.currency == order.currency)
        if captured != order.total:
            captured_text = amount_text(captured, order.currency)
            what = f"{saga.saga_id} is confirmed over {_total(order)}, but {captured_text} was captured"
            row = _row(saga, order_id=saga.order_id, state=order.state, currency=order.currency)
            row |= {"total": amount_text(order.total, order.currency), "captured": captured_text}
            yield Fault(Check.CLEARING, False, Violation(what, order.shard, row))


def _leg_fault(saga: SagaFacts, leg: LegFact, what: str, while_open: bool = False) -> Fault:
    amount = amount_text(leg.amount, leg.currency)
    row = _row(saga, role=leg.role, currency=leg.currency, amount=amount)
    return Fault(Check.CLEARING, while_open, Violation(what, leg.shard, row))


def _amount(leg: LegFact, sign: int = 1) -> str:
    return f"{amount_text(sign * leg.amount, leg.currency)} {leg.currency}"


def _total(order: OrderFact) -> str:
    return f"{amount_text(order.total, order.currency)} {order.currency}"


# ── the order's row, its lookup and its workflow ────────────────────────────────────────────────────────────


def _order_faults(saga: SagaFacts) -> Iterator[Fault]:
    order_id = saga.order_id
    for noun, shards in (
        ("lookup rows", [each.shard for each in saga.lookups]),
        ("rows", [each.shard for each in saga.orders]),
    ):
        if len(shards) > 1:
            row = _row(saga, order_id=order_id, shards=shards)
            what = f"order {order_id} has {len(shards)} {noun}: on {', '.join(shards)}"
            yield Fault(Check.ORDERS, False, Violation(what, shards[0], row))
    if not saga.lookups:
        yield _without_lookup(saga)
        return
    lookup = saga.lookups[0]
    if not saga.orders:
        if lookup.refused is None:
            what = f"order id {order_id} is claimed, but there is neither an order nor a reason, and nobody works on it"
            row = _row(saga, order_id=order_id, customer_id=lookup.customer_id)
            yield Fault(Check.ORDERS, True, Violation(what, lookup.shard, row))
        return
    order = saga.orders[0]
    if lookup.refused is not None:
        what = f"order {order_id} is {order.state}, but its lookup row says it was refused: {lookup.refused}"
        yield _order_fault(saga, order, what, refused_reason=lookup.refused)
    if lookup.customer_id != order.customer_id:
        what = f"order {order_id} is of customer {order.customer_id}, its lookup row says {lookup.customer_id}"
        yield _order_fault(saga, order, what, lookup_customer_id=lookup.customer_id)
    if lookup.content_hash != order.content_hash:
        what = f"order {order_id} has another content hash than its lookup row"
        yield _order_fault(saga, order, what, content_hash=order.content_hash, lookup_content_hash=lookup.content_hash)
    if order.state in (OrderState.PENDING, OrderState.ABORTING):
        what = f"order {order_id} is {order.state}, and nobody works on it"
        yield _order_fault(saga, order, what, while_open=True)


def _without_lookup(saga: SagaFacts) -> Fault:
    order_id = saga.order_id
    known_on = [each[0] for part in (saga.orders, saga.reservations, saga.steps, saga.legs) for each in part]
    if not known_on:
        what = f"the workflow of order {order_id} is closed, but no shard knows the order"
        return Fault(Check.ORDERS, True, Violation(what, None, _row(saga, order_id=order_id)))
    # Its shard was restored to a time before the claim. Carrying the order out again claims the id.
    what = f"order {order_id} is known, but its id was never claimed: it has no lookup row, and nobody works on it"
    return Fault(Check.ORDERS, True, Violation(what, str(known_on[0]), _row(saga, order_id=order_id)))


def _order_fault(saga: SagaFacts, order: OrderFact, what: str, while_open: bool = False, **more: object) -> Fault:
    row = _row(saga, order_id=saga.order_id, customer_id=order.customer_id, state=order.state, **more)
    return Fault(Check.ORDERS, while_open, Violation(what, order.shard, row))


# ── stock ───────────────────────────────────────────────────────────────────────────────────────────────────

# The states that a reservation may have, by the state of its order. Those that are right only while a workflow works on
# the order are in `_MOVING` instead.
_SETTLED: Mapping[str, set[str]] = {
    OrderState.PENDING: {"reserved"},
    OrderState.CONFIRMED: {"consumed"},
    OrderState.ABORTING: {"reserved", "released"},
    OrderState.REJECTED: {"released"},
    OrderState.CANCELLED: {"released"},
}
_MOVING: set[tuple[str, str]] = {
    (OrderState.CONFIRMED, "reserved"),
    (OrderState.REJECTED, "reserved"),
    (OrderState.CANCELLED, "reserved"),
}


def _stock_faults(saga: SagaFacts) -> Iterator[Fault]:
    if not saga.orders:
        for reservation in saga.reservations:
            if reservation.state == "released":
                continue  # The order's shard was restored to a time before the order, which was then given up.
            # Carrying the order out again opens it, or bars it for ever and gives the goods back.
            held = reservation.state == "reserved"
            what = (
                f"{reservation.sku} is {reservation.state} for order {saga.order_id}, which does not exist"
                f"{', and nobody works on it' if held else ''}"
            )
            yield _stock_fault(saga, reservation, what, while_open=held)
        return
    order = saga.orders[0]
    wanted = dict(order.lines)
    for reservation in saga.reservations:
        yield from _reservation_faults(saga, order, wanted, reservation)
    if order.state == OrderState.CONFIRMED:
        reserved = {reservation.sku for reservation in saga.reservations}
        for sku, quantity in order.lines:
            if sku not in reserved:
                # Its shard was restored to a time before that. Carrying the order on consumes the goods all the same.
                what = (
                    f"order {saga.order_id} is confirmed, but its {quantity} of {sku} were never reserved, and "
                    "nobody works on it"
                )
                row = _row(saga, order_id=saga.order_id, sku=sku, quantity=quantity)
                yield Fault(Check.STOCK, True, Violation(what, order.shard, row))


def _reservation_faults(
    saga: SagaFacts, order: OrderFact, wanted: Mapping[str, int], reservation: ReservationFact
) -> Iterator[Fault]:
    ordered = wanted.get(reservation.sku, 0)
    if ordered != reservation.quantity:
        what = (
            f"{reservation.quantity} of {reservation.sku} are {reservation.state} for order {saga.order_id}, "
            f"which asked for {ordered}"
        )
        yield _stock_fault(saga, reservation, what)
    if reservation.state not in _SETTLED.get(order.state, set()):
        moving = (order.state, reservation.state) in _MOVING
        what = (
            f"{reservation.quantity} of {reservation.sku} are {reservation.state}, but order {saga.order_id} "
            f"is {order.state}{', and nobody works on it' if moving else ''}"
        )
        yield _stock_fault(saga, reservation, what, while_open=moving)


def _stock_fault(saga: SagaFacts, reservation: ReservationFact, what: str, while_open: bool = False) -> Fault:
    row = _row(saga, sku=reservation.sku, quantity=reservation.quantity, state=reservation.state)
    return Fault(Check.STOCK, while_open, Violation(what, reservation.shard, row))


# ── orphans ─────────────────────────────────────────────────────────────────────────────────────────────────


def _orphan_faults(saga: SagaFacts) -> Iterator[Fault]:
    state = saga.orders[0].state if saga.orders else None
    undone = {(each.shard, each.step) for each in saga.steps if each.op == "undo"}
    for shard, step, op, refused in saga.steps:
        named = step_of_barrier(step)
        confirms = named is not None and named.step.phase is Phase.COMPLETION
        leaves_nothing = named is not None and not named.step.declared.has_effect
        row = _row(saga, step=step, op=op, order_state=state)
        name = _step_text(step)
        if state == OrderState.CONFIRMED:
            if op == "undo":
                what = f"step {name} of {saga.saga_id} was undone, but the order is confirmed"
                yield Fault(Check.ORPHANS, False, Violation(what, shard, row))
        elif op == "do" and confirms:
            what = f"step {name} of {saga.saga_id} ran, but the order is {state or 'nowhere'}, not confirmed"
            yield Fault(Check.ORPHANS, False, Violation(what, shard, row))
        elif op == "do" and not (refused or leaves_nothing) and (shard, step) not in undone:
            what = f"step {name} of {saga.saga_id} was done and never undone, and nobody works on the saga"
            yield Fault(Check.ORPHANS, True, Violation(what, shard, row))


def _step_text(step: str) -> str:
    """A stock step carries the lower bound of its range: a SKU, but the step is not about that product in
    particular."""
    name, slash, bound = step.partition("/")
    if not slash:
        return name
    return f"{name} (SKUs from {bound} on)" if bound else f"{name} (the first SKUs)"


def _row(saga: SagaFacts, **columns: object) -> dict[str, object]:
    return {"saga_id": saga.saga_id, **columns}
