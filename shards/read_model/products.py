"""Products of all shards, by SKU. Those of `shardwise contrast` are left out."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.money import Money
from shards.catalogue.reads import ListedProduct
from shards.read_model.left_out import not_of_contrast
from shards.read_model.pages import Page, PageAfter, page_of

_LIST = text(f"""
    SELECT sku, name, currency, unit_price, version, shard FROM live.product
    WHERE sku > :after AND {not_of_contrast("sku")} ORDER BY sku LIMIT :limit
""")


async def list_products(connection: AsyncConnection, page: PageAfter[str]) -> Page[ListedProduct, str]:
    found = await connection.execute(_LIST, {"after": page.after or "", "limit": page.rows_read})
    products = [
        ListedProduct(row.sku, row.name, row.currency, Money(row.unit_price, row.currency), row.version, row.shard)
        for row in found
    ]
    return page_of(products, page, lambda product: product.sku)
