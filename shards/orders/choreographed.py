"""Changes of a choreographed order's row by its reactors; each change appends one event.

Such an order is decided by `decision.decide` and closed by `order_row.abort_order`, as in the other style. Locks are
taken in the same order as there: barrier row, order row, account row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import text

from domain.accounts import unknown_account, unknown_customer
from domain.choreography import Choreography, EventKind
from domain.events import AccountEvent
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, OrderState, PricedLine, why_not_in
from domain.sagas import ALREADY_COMPENSATED, Refusal
from shards.accounts import holds
from shards.orders import events as order_events
from shards.orders import order_row, queries
from shards.orders.events import append_order_event
from shards.outbox.appending import append_event
from shards.routing.shard_transaction import ShardTransaction

_LOCK = text("SELECT customer_id, currency, total, state FROM orders WHERE id = :id FOR NO KEY UPDATE")


async def place(
    tx: ShardTransaction, order: Order, lines: Sequence[PricedLine], choreography: Choreography
) -> Refusal | None:
    """Inserts the order's row, `pending`, with its lines and without a hold; or returns why not, which leaves no row.

    Replaces `order_row.open_order`: the barrier step is the same, so that a decision without a row bars both.
    """
    if await queries.customer_currency(tx, order.customer_id) is None:
        return unknown_customer(order.customer_id)
    withdrawn = why_not_in(order.currency)
    if withdrawn is not None:
        return withdrawn
    total, stored = choreography.total, order_events.as_stored(choreography)
    placed = await order_row.insert_order(tx, order, lines, total, stored)
    append_order_event(
        tx, order.order_id, placed, EventKind.ORDER_PLACED, customer_id=order.customer_id, total=str(total)
    )
    return None


async def join_stock(tx: ShardTransaction, order_id: str, refusal: Refusal | None) -> Refusal | None:
    """Appends the joint result of all stock shards: `StockReserved`, or `StockRefused` with the reason.

    Only while the order is undecided; otherwise it changes nothing and returns `ALREADY_COMPENSATED`.
    """
    kind = EventKind.STOCK_RESERVED if refusal is None else EventKind.STOCK_REFUSED
    if await order_events.advance(tx, order_id, OrderState.PENDING, kind, refusal):
        return refusal
    return ALREADY_COMPENSATED


async def hold_payment(tx: ShardTransaction, order_id: str, refusal: Refusal | None) -> Refusal | None:
    """Holds the order's total on its customer's account: `PaymentHeld`, or `PaymentRefused` with the reason.

    `decision.decide` captures this hold, `order_row.abort_order` releases it. With a `refusal` no hold is tried. Only
    while the order is undecided; otherwise it changes nothing and returns `ALREADY_COMPENSATED`.
    """
    order = (await tx.execute(_LOCK, id=order_id)).one_or_none()
    if order is None or order.state != OrderState.PENDING:
        return ALREADY_COMPENSATED
    refusal = refusal or await _place_hold(tx, order_id, order)
    kind = EventKind.PAYMENT_HELD if refusal is None else EventKind.PAYMENT_REFUSED
    advanced = await order_events.advance(tx, order_id, OrderState.PENDING, kind, refusal)
    return refusal if advanced else ALREADY_COMPENSATED


async def _place_hold(tx: ShardTransaction, order_id: str, order: Any) -> Refusal | None:
    account = await holds.lock_account(tx, order.customer_id)
    if account is None:
        return unknown_account(order.customer_id)
    saga_id, total = order_saga_id(order_id), Money(order.total, order.currency)
    held = await holds.place_hold(tx, saga_id, order_row.OPEN_STEP, account, total)
    if isinstance(held, Refusal):
        return held
    if held is not None:
        append_event(tx, saga_id, AccountEvent.PAYMENT_HELD, order.customer_id, held, amount=str(total))
    return None


async def join_release(tx: ShardTransaction, order_id: str) -> Refusal | None:
    """Appends `StockReleased`: all stock is given back. Only while the order is aborting; otherwise changes nothing."""
    if await order_events.advance(tx, order_id, OrderState.ABORTING, EventKind.STOCK_RELEASED):
        return None
    return ALREADY_COMPENSATED
