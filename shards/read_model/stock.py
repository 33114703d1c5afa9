"""Stock levels of all shards, by SKU. Products of `shardwise contrast` are left out."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.read_model.left_out import not_of_contrast
from shards.read_model.pages import Page, PageAfter, page_of

_LIST = text(f"""
    SELECT level.sku, coalesce(product.name, level.sku) AS product_name, level.on_hand, level.reserved,
           level.on_hand - level.reserved AS available, level.shard
    FROM (
        SELECT * FROM live.stock_level WHERE sku > :after AND {not_of_contrast("sku")} ORDER BY sku LIMIT :limit
    ) AS level
    LEFT JOIN live.product ON product.sku = level.sku ORDER BY level.sku
""")


@dataclass(frozen=True, slots=True)
class ListedStock:
    """`product_name` is the SKU until the product's own event has been projected."""

    sku: str
    product_name: str
    on_hand: int
    reserved: int
    available: int
    shard: str


async def list_stock(connection: AsyncConnection, page: PageAfter[str]) -> Page[ListedStock, str]:
    found = await connection.execute(_LIST, {"after": page.after or "", "limit": page.rows_read})
    levels = [ListedStock(*row) for row in found]
    return page_of(levels, page, lambda level: level.sku)
