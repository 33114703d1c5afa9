"""Stock of one shard: reserved for a saga, then consumed or released. Rows are locked in the order of SKUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from domain.errors import InvalidInput, NotFound, Refused
from domain.events import StockEvent
from domain.limits import QUANTITY_MAX
from domain.money import Money
from domain.sagas import Refusal
from domain.stock import out_of_stock, why_not_sold
from shards import outbox
from shards.routing import ShardTransaction

_LOCK_STOCK = text("""
    SELECT sku, on_hand - reserved AS available, product.currency
    FROM stock JOIN product USING (sku) WHERE sku = ANY(:skus) ORDER BY sku COLLATE "C" FOR UPDATE OF stock
""")
_RESERVE = text("""
    WITH wanted AS (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:quantities AS bigint[])) AS w (sku, quantity)),
    kept AS (
        INSERT INTO reservation (saga_id, sku, quantity, state)
        SELECT :saga_id, sku, quantity, 'reserved' FROM wanted
    )
    UPDATE stock SET reserved = reserved + quantity, version = version + 1
    FROM wanted WHERE stock.sku = wanted.sku RETURNING stock.sku, version
""")
# The order of row locks inside an UPDATE is the plan's choice, so they are taken first, in ours.
_LOCK_RESERVED = text("""
    SELECT stock.sku FROM stock JOIN reservation USING (sku)
    WHERE saga_id = :saga_id AND sku = ANY(:skus) AND state = 'reserved'
    ORDER BY sku COLLATE "C" FOR UPDATE OF stock
""")
_CLOSE_RESERVATION = text("""
    WITH closed AS (
        UPDATE reservation SET state = CAST(:state AS text)
        WHERE saga_id = :saga_id AND sku = ANY(:skus) AND state = 'reserved' RETURNING sku, quantity
    )
    UPDATE stock SET
        reserved = reserved - quantity,
        on_hand = on_hand - CASE WHEN CAST(:state AS text) = 'consumed' THEN quantity ELSE 0 END,
        version = version + 1
    FROM closed WHERE stock.sku = closed.sku RETURNING stock.sku, version
""")
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


async def reserve(
    tx: ShardTransaction, saga_id: str, quantities: Mapping[str, int], currency: str
) -> Refusal | dict[str, int]:
    """Reserves all or nothing: each SKU's new version, or the first reason why not.

    Undone by `release`, ended by `consume`. `quantities` must be of this shard and sorted by SKU.
    """
    rows = {row.sku: row for row in await tx.execute(_LOCK_STOCK, skus=list(quantities))}
    for sku, quantity in quantities.items():
        row = rows.get(sku)
        refusal = why_not_sold(sku, row.currency if row is not None else None, currency)
        if refusal is None and row is not None:
            refusal = out_of_stock(sku, quantity, row.available)
        if refusal is not None:
            return refusal
    reserved = await tx.execute(_RESERVE, saga_id=saga_id, skus=list(quantities), quantities=list(quantities.values()))
    return {row.sku: row.version for row in reserved}


async def release(tx: ShardTransaction, saga_id: str, skus: list[str]) -> dict[str, int]:
    """Gives what the saga reserved back; each SKU's new version. Nothing where nothing is reserved."""
    return await _close(tx, saga_id, skus, "released")


async def consume(tx: ShardTransaction, saga_id: str, skus: list[str]) -> dict[str, int]:
    """The reserved goods have left; the new version of each SKU that was reserved. Forward only."""
    return await _close(tx, saga_id, skus, "consumed")


async def _close(tx: ShardTransaction, saga_id: str, skus: list[str], state: str) -> dict[str, int]:
    await tx.execute(_LOCK_RESERVED, saga_id=saga_id, skus=skus)
    closed = await tx.execute(_CLOSE_RESERVATION, saga_id=saga_id, skus=skus, state=state)
    return {row.sku: row.version for row in closed}


async def read_prices(tx: ShardTransaction, skus: list[str]) -> dict[str, Money]:
    """The catalogue's price of each of these SKUs that exists."""
    return {row.sku: Money(row.unit_price, row.currency) for row in await tx.execute(_READ_PRICES, skus=skus)}


async def receive(tx: ShardTransaction, receipt_id: str, sku: str, quantity: int) -> StockLevel:
    """Adds goods that came in; the level afterwards. Idempotent by receipt id. Cannot be undone.

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
    outbox.append(tx, saga_id, StockEvent.RECEIVED, sku, received.version, quantity=quantity)
    return await read_level(tx, sku)


async def read_level(tx: ShardTransaction, sku: str) -> StockLevel:
    """`NotFound` for an unknown SKU."""
    row = (await tx.execute(_READ_STOCK, sku=sku)).one_or_none()
    if row is None:
        raise NotFound("unknown_sku", f"there is no product {sku}", "sku")
    return StockLevel(row.sku, row.on_hand, row.reserved, row.available, tx.route.shard)
