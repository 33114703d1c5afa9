"""One order with all its details, joined from the events of several shards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.money import Amount, Money
from domain.orders import OrderState, OrderStatus
from domain.sagas import Reason
from domain.timestamps import Timestamp
from shards.read_model.read_model import not_in_read_model

# One row per line of the order; an order without lines is one row without a line.
_READ = text("""
    SELECT details.*, item.sku, coalesce(item.product_name, item.sku) AS product_name, item.quantity, item.unit_price
    FROM live.order_details AS details LEFT JOIN live.order_item AS item ON item.order_id = details.id
    WHERE details.id = :id ORDER BY item.n
""")


@dataclass(frozen=True, slots=True)
class OrderItem:
    """`product_name` is the SKU until the product's own event has been projected."""

    sku: str
    product_name: str
    quantity: int
    unit_price: Amount
    amount: Amount


@dataclass(frozen=True, slots=True)
class Buyer:
    customer_id: str
    name: str
    email: str | None


@dataclass(frozen=True, slots=True)
class OrderDetails:
    """`status` comes from the rows, so it is never `stuck`. `day` is the day that sales count the order to. `version`
    grows with each change of the order."""

    order_id: str
    status: OrderStatus
    style: str
    reason: Reason | None
    detail: str | None
    customer: Buyer
    customer_shard: str
    currency: str
    total: Amount
    items: tuple[OrderItem, ...]
    ship_to: dict[str, str | None] | None
    day: date
    placed_at: Timestamp
    decided_at: Timestamp | None
    closed_at: Timestamp | None
    version: int


async def read_order_details(connection: AsyncConnection, order_id: str) -> OrderDetails:
    """`Refused` with `unknown_order` if the read model does not have the order, or not yet."""
    rows = (await connection.execute(_READ, {"id": order_id})).all()
    if not rows:
        raise not_in_read_model("unknown_order", f"order {order_id}", f"order show {order_id}", "order_id")
    first = rows[0]
    return OrderDetails(
        first.id,
        OrderStatus.of_state(OrderState(first.state)),
        first.style,
        Reason(first.reason) if first.reason else None,
        first.detail,
        Buyer(first.customer_id, first.customer_name, first.customer_email),
        first.shard,
        first.currency,
        Money(first.total, first.currency),
        tuple(_item(row) for row in rows if row.sku is not None),
        first.ship_to,
        first.day,
        first.placed_at,
        first.decided_at,
        first.closed_at,
        first.version,
    )


def _item(row: Any) -> OrderItem:
    price = Money(row.unit_price, row.currency)
    return OrderItem(row.sku, row.product_name, row.quantity, price, price * row.quantity)
