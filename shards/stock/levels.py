"""Stock levels and prices of products on their shard, and goods received."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from domain.errors import InvalidInput, NotFound, Refused
from domain.events import StockEvent
from domain.limits import QUANTITY_MAX
from domain.money import Money
from shards.outbox.appending import append_event
from shards.routing.shard_transaction import ShardTransaction

_READ_PRICES = text("SELECT sku, currency, unit_price FROM product WHERE sku = ANY(:skus)")
_RECEIVE = text("""
    WITH received AS (
        INSERT INTO stock_receipt (id, sku, quantity) SELECT :id, sku, :quantity FROM stock WHERE sku = :sku
        ON CONFLICT DO NOTHING RETURNING sku
    )
    UPDATE stock SET on_hand = on_hand + :quantity, version = version + 1
    FROM received WHERE stock.sku = received.sku RETURNING version
""")
_READ_RECEIPT = text("SELECT sku, quantity FROM stock_receipt WHERE id = :id")
_READ_STOCK = text("SELECT sku, on_hand, reserved, on_hand - reserved AS available FROM stock WHERE sku = :sku")


@dataclass(frozen=True, slots=True)
class StockLevel:
    sku: str
    on_hand: int
    reserved: int
    available: int
    shard: str


async def read_prices(tx: ShardTransaction, skus: list[str]) -> dict[str, Money]:
    """The catalogue's price of each of these SKUs that exists."""
    return {row.sku: Money(row.unit_price, row.currency) for row in await tx.execute(_READ_PRICES, skus=skus)}


async def receive(tx: ShardTransaction, receipt_id: str, sku: str, quantity: int) -> StockLevel:
    """Adds goods received, and returns the new level. Idempotent by receipt id. Cannot be undone.

    `Refused` for an unknown SKU, or a receipt id already used for something else.
    """
    if not 1 <= quantity <= QUANTITY_MAX:
        raise InvalidInput("quantity", f"quantity: expected 1 to {QUANTITY_MAX}, got {quantity}")
    received = (await tx.execute(_RECEIVE, id=receipt_id, sku=sku, quantity=quantity)).first()
    if received is None:
        level = await read_level(tx, sku)
        known = (await tx.execute(_READ_RECEIPT, id=receipt_id)).one()
        if (known.sku, known.quantity) != (sku, quantity):
            raise Refused("id_conflict", f"receipt {receipt_id} was {known.quantity} of {known.sku}", "id")
        return level
    saga_id = f"receipt/{receipt_id}"
    append_event(tx, saga_id, StockEvent.RECEIVED, sku, received.version, quantity=quantity)
    return await read_level(tx, sku)


async def read_level(tx: ShardTransaction, sku: str) -> StockLevel:
    """`NotFound` for an unknown SKU."""
    row = (await tx.execute(_READ_STOCK, sku=sku)).one_or_none()
    if row is None:
        raise NotFound("unknown_sku", f"there is no product {sku}", "sku")
    return StockLevel(row.sku, row.on_hand, row.reserved, row.available, tx.route.shard)
