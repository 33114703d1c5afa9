"""An order's row on its customer's shard: opened with its payment held, closed with the hold given back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.accounts import unknown_customer
from domain.choreography import EventKind
from domain.events import AccountEvent
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, OrderState, PricedLine, Style, closing_state, why_not_in
from domain.sagas import Reason, Refusal
from domain.shard_map import bucket_of
from domain.steps import RECORDS, Step
from shards.accounts import holds
from shards.connections.database_errors import IntegrityViolation
from shards.orders.events import CHANGED, append_order_event
from shards.outbox.appending import append_event
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier

# The hold, too, is stored under this step, in both styles.
OPEN_STEP = Step.OPEN_ORDER.barrier_step()

_INSERT_ORDER = text(f"""
    WITH placed AS (
        INSERT INTO orders (
            id, customer_id, bucket, currency, total, content_hash, state, ordered_on, ship_to, choreography
        ) VALUES (
            :id, :customer_id, :bucket, :currency, :total, :content_hash, 'pending', :ordered_on, :ship_to,
            :choreography
        ) RETURNING id, {CHANGED}
    ), lines AS (
        INSERT INTO order_line (order_id, n, sku, quantity, unit_price)
        SELECT placed.id, n, sku, quantity, unit_price
        FROM placed, unnest(CAST(:skus AS text[]), CAST(:quantities AS bigint[]), CAST(:unit_prices AS bigint[]))
            WITH ORDINALITY AS line (sku, quantity, unit_price, n)
    )
    SELECT {CHANGED} FROM placed
""").bindparams(
    bindparam("ship_to", type_=JSONB(none_as_null=True)), bindparam("choreography", type_=JSONB(none_as_null=True))
)
_CLOSE = text(f"""
    UPDATE orders SET state = :state, closed_at = now(), version = version + 1,
        choreography = choreography || jsonb_build_object('event', CAST(:event AS text))
    WHERE id = :id AND state = 'aborting' RETURNING {CHANGED}
""")
_IS_CHOREOGRAPHED = text("SELECT 1 FROM orders WHERE id = :id AND choreography IS NOT NULL")
_READ_STATE = text("SELECT state FROM orders WHERE id = :id")
_READ_ORDERS = text("""
    SELECT id, customer_id, currency, total, content_hash, state, reason, detail, placed_at, decided_at,
           choreography IS NOT NULL AS is_choreographed
    FROM orders WHERE id = ANY(:ids)
""")
_READ_LINES = text("SELECT sku, quantity, unit_price FROM order_line WHERE order_id = :id ORDER BY n")


@dataclass(frozen=True, slots=True)
class OrderRow:
    order_id: str
    customer_id: str
    total: Money
    content_hash: str
    state: OrderState
    refusal: Refusal | None
    placed_at: datetime
    decided_at: datetime | None
    style: Style


async def open_order(tx: ShardTransaction, order: Order, lines: Sequence[PricedLine], total: Money) -> Refusal | None:
    """Inserts the order's row, `pending`, with its lines, and holds the payment; or returns why not.

    An unknown customer leaves no row, nor does a withdrawn currency. Any other refusal leaves the row, undecided and
    without a hold. Undone by `abort_order`.
    """
    account = await holds.lock_account(tx, order.customer_id)
    if account is None or account.kind != "customer":
        return unknown_customer(order.customer_id)
    withdrawn = why_not_in(order.currency)
    if withdrawn is not None:
        return withdrawn
    placed = await insert_order(tx, order, lines, total)
    append_order_event(
        tx, order.order_id, placed, EventKind.ORDER_PLACED, customer_id=order.customer_id, total=str(total)
    )
    saga_id = order_saga_id(order.order_id)
    held = await holds.place_hold(tx, saga_id, OPEN_STEP, account, total)
    if isinstance(held, Refusal):
        return held
    if held is not None:
        append_event(tx, saga_id, AccountEvent.PAYMENT_HELD, order.customer_id, held, amount=str(total))
    return None


async def insert_order(
    tx: ShardTransaction,
    order: Order,
    lines: Sequence[PricedLine],
    total: Money,
    choreography: dict[str, Any] | None = None,
) -> Any:
    """The new row, as `append_order_event` needs it. Call it only in the barrier step `OPEN_STEP`."""
    inserted = await tx.execute(
        _INSERT_ORDER,
        id=order.order_id,
        customer_id=order.customer_id,
        bucket=bucket_of(order.customer_id),
        currency=order.currency,
        total=total.minor,
        content_hash=order.content_hash,
        ordered_on=order.ordered_on,
        ship_to=asdict(order.ship_to) if order.ship_to else None,
        skus=[line.sku for line in lines],
        quantities=[line.quantity for line in lines],
        unit_prices=[line.unit_price.minor for line in lines],
        choreography=choreography,
    )
    return inserted.one()


async def abort_order(tx: ShardTransaction, order_id: str, refusal: Refusal) -> None:
    """Compensates `open_order`: gives the held money back and closes the row as rejected or cancelled.

    Only after a decision to abort. Idempotent; changes nothing if the order never had a row.
    """
    saga_id = order_saga_id(order_id)

    async def compensate() -> None:
        state = closing_state(refusal.reason)
        kind = EventKind.ORDER_CANCELLED if state is OrderState.CANCELLED else EventKind.ORDER_REJECTED
        closed = (await tx.execute(_CLOSE, id=order_id, state=state, event=kind)).one_or_none()
        if closed is None:
            row = (await tx.execute(_READ_STATE, id=order_id)).one_or_none()
            if row is None:
                return
            raise IntegrityViolation(f"order {order_id} is {row.state}: only an aborting order can be closed")
        released = await holds.release_hold(tx, saga_id, OPEN_STEP)
        if released is not None:
            append_event(tx, saga_id, AccountEvent.PAYMENT_RELEASED, released.account_id, released.account_version)
        append_order_event(tx, order_id, closed, kind, reason=refusal.reason)

    # Barrier rows are taken before any row of the order is locked. An order's style never changes.
    if (await tx.execute(_IS_CHOREOGRAPHED, id=order_id)).first() is not None:
        await barrier.undo_records(tx, saga_id, RECORDS)
    await barrier.undo_once(tx, saga_id, OPEN_STEP, compensate)


async def read_orders(tx: ShardTransaction, order_ids: list[str]) -> dict[str, OrderRow]:
    """Those of `order_ids` that have a row on this shard. Changes nothing."""
    return {row.id: _order_of(row) for row in await tx.execute(_READ_ORDERS, ids=order_ids)}


async def read_lines(tx: ShardTransaction, order_id: str, currency: str) -> list[PricedLine]:
    rows = await tx.execute(_READ_LINES, id=order_id)
    return [PricedLine(row.sku, row.quantity, Money(row.unit_price, currency)) for row in rows]


def _order_of(row: Any) -> OrderRow:
    return OrderRow(
        row.id,
        row.customer_id,
        Money(row.total, row.currency),
        row.content_hash,
        OrderState(row.state),
        Refusal(Reason(row.reason), row.detail) if row.reason else None,
        row.placed_at,
        row.decided_at,
        Style.CHOREOGRAPHED if row.is_choreographed else Style.ORCHESTRATED,
    )
