"""Queries about orders for callers outside the sagas. Nothing here writes."""

from __future__ import annotations

from sqlalchemy import text

from domain.money import Money
from domain.orders import PricedLine
from shards.routing.shard_transaction import ShardTransaction

_LINES_OF_ORDERS = text("""
    SELECT line.order_id, line.sku, line.quantity, line.unit_price, orders.currency
    FROM order_line AS line JOIN orders ON orders.id = line.order_id
    WHERE line.order_id = ANY(:order_ids) ORDER BY line.order_id, line.n
""")
_CUSTOMER_CURRENCY = text("SELECT currency FROM account WHERE id = :customer_id AND kind = 'customer'")


async def lines_of_orders(tx: ShardTransaction, order_ids: list[str]) -> dict[str, list[PricedLine]]:
    """The lines of those of `order_ids` that have a row on this shard, in the order of the request."""
    lines: dict[str, list[PricedLine]] = {}
    for row in await tx.execute(_LINES_OF_ORDERS, order_ids=order_ids):
        line = PricedLine(row.sku, row.quantity, Money(row.unit_price, row.currency))
        lines.setdefault(row.order_id, []).append(line)
    return lines


async def customer_currency(tx: ShardTransaction, customer_id: str) -> str | None:
    """The currency of the customer's account; None for an unknown customer."""
    currency: str | None = (await tx.execute(_CUSTOMER_CURRENCY, customer_id=customer_id)).scalar_one_or_none()
    return currency
