"""Hundreds of thousands of finished orders, written directly to the shards, with the rows that their sagas would leave.

Temporal knows none of them, as after its retention. Nine in ten are confirmed; the others were rejected because their
second shard was out of stock, and were undone. `planted_orders.sql` has the rows. Their events count as trimmed, so the
read model must be rebuilt to contain them: see `bench.direct_rebuild`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from domain.catalogue import Customer, Product
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.shard_map import ShardMap, bucket_of
from shards.catalogue.imports import import_customers, import_products
from shards.routing.router import Router

CUSTOMERS = 1_000
PRODUCTS = 60
PRICE = Money(500, "USD")
RICH = Money(10**12, "USD")
REJECTED_ONE_IN = 10

_SCRIPT = Path(__file__).with_suffix(".sql")
_STAGE = """
    CREATE TEMPORARY TABLE planted (
        order_id text, saga_id text, confirmed boolean,
        customer_id text, customer_bucket smallint, customer_shard text, lookup_bucket smallint, lookup_shard text,
        near_sku text, near_range text, near_shard text, far_sku text, far_range text, far_shard text
    )
"""


@dataclass(frozen=True)
class Planter:
    """Plants orders, by number, in an installation that has the customers and products."""

    shard_map: ShardMap
    dsns: Mapping[str, str]

    async def plant(self, numbers: Iterable[int]) -> None:
        rows = list(self._rows(numbers))
        await asyncio.gather(*(_plant_on(dsn, rows) for dsn in self.dsns.values()))

    def merchant_shard(self) -> str:
        return self.shard_map.of_account("merchant.USD").shard

    def customer_shard(self, number: int) -> str:
        return self.shard_map.of_customer(customer_id_of(number)).shard

    def _rows(self, numbers: Iterable[int]) -> Iterator[tuple[Any, ...]]:
        """The near product is in the first range, the far one in the last, so they are on two shards."""
        of = self.shard_map
        for number in numbers:
            order_id, customer_id = order_id_of(number), customer_id_of(number)
            near, far = f"SKU-{number % (PRODUCTS // 3):03}", f"SKU-{PRODUCTS - 1 - number % (PRODUCTS // 3):03}"
            yield (
                *(order_id, order_saga_id(order_id), is_confirmed(number)),
                *(customer_id, bucket_of(customer_id), of.of_customer(customer_id).shard),
                *(bucket_of(order_id), of.of_order_id(order_id).shard),
                *(near, of.of_sku(near).slot, of.of_sku(near).shard),
                *(far, of.of_sku(far).slot, of.of_sku(far).shard),
            )


def order_id_of(number: int) -> str:
    return f"P-{number:07}"


def is_confirmed(number: int) -> bool:
    return number % REJECTED_ONE_IN != 0


def customer_id_of(number: int) -> str:
    return f"C{number % CUSTOMERS:04}"


async def import_catalogue(router: Router, dsns: Mapping[str, str]) -> Planter:
    """Imports customers and products into an empty installation."""
    names = [customer_id_of(number) for number in range(CUSTOMERS)]
    skus = [f"SKU-{number:03}" for number in range(PRODUCTS)]
    await import_customers(router, [Customer(name, f"Customer {name}", None, RICH) for name in names])
    await import_products(router, [Product(sku, f"Product {sku}", PRICE, 1_000_000) for sku in skus])
    return Planter(await router.map(), dsns)


async def _plant_on(dsn: str, rows: list[tuple[Any, ...]]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute(_STAGE)
            await connection.copy_records_to_table("planted", records=rows)
            await connection.execute(_SCRIPT.read_text())
        await connection.execute("ANALYZE")  # As autovacuum would have, long ago.
    finally:
        await connection.close()
