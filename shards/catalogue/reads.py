"""A product of the catalogue as its shard has it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.money import Amount, Money
from shards.routing.router import Reads
from shards.routing.shard_transaction import ShardTransaction

_READ = text("SELECT sku, name, currency, unit_price, version FROM product WHERE sku = :sku")
_SOME = text("SELECT sku FROM product ORDER BY sku LIMIT :limit")


@dataclass(frozen=True, slots=True)
class ListedProduct:
    """`version` grows with each change of name."""

    sku: str
    name: str
    currency: str
    unit_price: Amount
    version: int
    shard: str


async def read_product(reads: Reads, sku: str) -> ListedProduct:
    """`NotFound` with `unknown_sku`."""

    async def read(tx: ShardTransaction) -> ListedProduct:
        row = (await tx.execute(_READ, sku=sku)).one_or_none()
        if row is None:
            raise NotFound("unknown_sku", f"there is no product {sku}", "sku")
        price = Money(row.unit_price, row.currency)
        return ListedProduct(row.sku, row.name, row.currency, price, row.version, tx.route.shard)

    return await reads.read(lambda m: m.of_sku(sku), read)


async def some_skus(connection: AsyncConnection, limit: int) -> list[str]:
    """The first of this shard. None where it has no products."""
    return list((await connection.execute(_SOME, {"limit": limit})).scalars())
