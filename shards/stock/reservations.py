"""Stock of one shard: reserved for a saga, then consumed or released. Rows are locked in the order of SKUs."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text

from domain.sagas import Refusal
from domain.stock import out_of_stock, why_not_sold
from shards.routing.shard_transaction import ShardTransaction

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
# The query plan chooses the order in which an UPDATE locks rows, so they are locked first, in the order of SKUs.
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


async def reserve(
    tx: ShardTransaction, saga_id: str, quantities: Mapping[str, int], currency: str
) -> Refusal | dict[str, int]:
    """Reserves all or nothing. Returns each SKU's new version, or the first refusal.

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
    """Gives back what the saga reserved. Returns the new version of each SKU that was reserved; idempotent."""
    return await _close(tx, saga_id, skus, "released")


async def consume(tx: ShardTransaction, saga_id: str, skus: list[str]) -> dict[str, int]:
    """The reserved goods leave. Returns the new version of each SKU that was reserved; idempotent. Forward only."""
    return await _close(tx, saga_id, skus, "consumed")


async def _close(tx: ShardTransaction, saga_id: str, skus: list[str], state: str) -> dict[str, int]:
    await tx.execute(_LOCK_RESERVED, saga_id=saga_id, skus=skus)
    closed = await tx.execute(_CLOSE_RESERVATION, saga_id=saga_id, skus=skus, state=state)
    return {row.sku: row.version for row in closed}
