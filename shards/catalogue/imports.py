"""Bulk import of customers and products: first the whole set is compared with the shards, then all shards are written.

Imports take turns on one lock in the catalog, so the comparison still holds when the last shard is written. Each batch
of a shard is a short transaction of its own, because a long one would hold back the outbox. An import that is killed
leaves whole batches; running it again adds the rest.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from sqlalchemy import TextClause, text

from domain.argument_types import check_collection
from domain.catalogue import Customer, Product, check_customer, check_product
from domain.currencies import why_not_new
from domain.errors import InvalidInput, Refused, StaleRoute
from domain.identifiers import merchant_account_id
from domain.shard_map import Route, ShardMap
from shards.catalogue import customers as customer_rows
from shards.catalogue import products as product_rows
from shards.connections.database import Database
from shards.routing.bulk_transaction import BulkTransaction
from shards.routing.map_store import cut_sku_ranges, pin_accounts
from shards.routing.router import Router

R = TypeVar("R", Customer, Product)
T = TypeVar("T")

BATCH_ROWS = 1_000
CONFLICTS_SHOWN_MAX = 5

_TAKE_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('shardwise/catalogue_import', 0))")


@dataclass(frozen=True, slots=True)
class Imported:
    """`total` rows: `imported` now, `unchanged` because an earlier run, or another at the same moment, had them."""

    total: int
    imported: int
    unchanged: int


async def import_customers(
    router: Router,
    customers: Iterable[Customer],
    on_progress: Callable[[int], None] = lambda _: None,
    for_contrast: bool = False,
) -> Imported:
    """Registers customers, each with an account paid in from its shard's equity.

    Idempotent by customer id and content. `Refused` with `id_conflict` if an id exists with other content, or with
    `currency_withdrawn` if a new customer's currency was withdrawn: nothing was changed then. `InvalidInput` for an
    invalid row, or an id that occurs with two contents: no server was contacted then. A crash leaves some customers
    whole and the others absent. `on_progress` is called with the number of rows of each finished batch. Needs a cluster
    without time limits (`long_running`). `for_contrast` as in `check_customer`.
    """
    by_id = _by_key(
        (check_customer(each, for_contrast) for each in check_collection(customers, "customers", "customers")),
        lambda row: row.customer_id,
        "customer_id",
    )
    async with _import_lock(router.cluster.catalog):
        rows = _Import(router, _CUSTOMERS, by_id, on_progress)
        await rows.refuse_conflicts()
        await rows.refuse_withdrawn_currencies()
        return await rows.write()


async def import_products(
    router: Router,
    products: Iterable[Product],
    on_progress: Callable[[int], None] = lambda _: None,
    for_contrast: bool = False,
) -> Imported:
    """Lists products with their stock, like `import_customers`. The first import also cuts the SKU ranges.

    The merchant account of each currency is opened before the first product can be sold, because the credit that
    follows a confirmed order cannot be refused.
    """
    by_sku = _by_key(
        (check_product(each, for_contrast) for each in check_collection(products, "products", "products")),
        lambda row: row.sku,
        "sku",
    )
    async with _import_lock(router.cluster.catalog):
        rows = _Import(router, _PRODUCTS, by_sku, on_progress)
        await rows.refuse_conflicts()
        await rows.refuse_withdrawn_currencies()
        await _prepare(router, list(rows.pending.values()))
        return await rows.write()


def _by_key(rows: Iterable[R], key_of: Callable[[R], str], field: str) -> dict[str, R]:
    by_key: dict[str, R] = {}
    for row in rows:
        if by_key.setdefault(key_of(row), row) != row:
            raise InvalidInput(field, f"{field}: expected each once, got {key_of(row)} with different content")
    return by_key


async def _prepare(router: Router, products: Sequence[Product]) -> None:
    currencies = sorted({product.unit_price.currency for product in products})
    await cut_sku_ranges(router.cluster, [product.sku for product in products])
    await pin_accounts(router.cluster, [merchant_account_id(currency) for currency in currencies])
    await router.refreshed(than=(await router.map()).version)
    for currency in currencies:
        await _open_merchant(router, currency)


async def _open_merchant(router: Router, currency: str) -> None:
    account_id = merchant_account_id(currency)
    await router.write(lambda m: m.of_account(account_id), lambda tx: product_rows.open_merchant(tx, currency))


@asynccontextmanager
async def _import_lock(catalog: Database) -> AsyncIterator[None]:
    """Lets one import run at a time. A crash releases the lock with the connection."""
    async with catalog.transaction() as connection:
        await connection.execute(_TAKE_LOCK)
        yield


@dataclass(frozen=True, slots=True)
class _Kind(Generic[R]):
    noun: str
    currency_of: Callable[[R], str]
    route_of: Callable[[ShardMap, R], Route]
    read_known: TextClause
    read_other_content: TextClause
    write: Callable[[BulkTransaction, Sequence[R], Sequence[Route]], Awaitable[list[str]]]


@dataclass(slots=True)
class _Import(Generic[R]):
    """`pending`: the rows not committed yet, by id."""

    router: Router
    kind: _Kind[R]
    pending: dict[str, R]
    on_progress: Callable[[int], None]
    imported: int = field(default=0, init=False)

    async def refuse_conflicts(self) -> None:
        """Compares with every shard before anything is written: all or nothing."""
        shards = self._by_shard(await self.router.map())
        found = await _gather_all(self._conflicts_on(shard, list(rows)) for shard, rows in shards.items())
        _refuse(self.kind.noun, sorted(key for keys in found for key in keys))

    async def refuse_withdrawn_currencies(self) -> None:
        """Rows imported earlier stay valid, so that their file can be imported again. Queries the shards only if
        needed."""
        reasons = {key: why_not_new(self.kind.currency_of(row)) for key, row in self.pending.items()}
        withdrawn = {key: reason for key, reason in reasons.items() if reason is not None}
        if not withdrawn:
            return
        shards = self._by_shard(await self.router.map())
        found = await _gather_all(self._known_on(shard, list(rows)) for shard, rows in shards.items())
        new = sorted(withdrawn.keys() - {key for keys in found for key in keys})
        if new:
            message = f"{withdrawn[new[0]]}, nothing was changed: {_a_few(new)}"
            raise Refused("currency_withdrawn", message, self.kind.noun)

    async def write(self) -> Imported:
        total = len(self.pending)
        shard_map = await self.router.map()
        try:
            await self._write_pending(shard_map)
        except StaleRoute:
            await self._write_pending(await self.router.refreshed(than=shard_map.version))
        return Imported(total, self.imported, total - self.imported)

    async def _write_pending(self, shard_map: ShardMap) -> None:
        shards = self._by_shard(shard_map)
        await _gather_all(self._write_on(shard, rows) for shard, rows in shards.items())

    def _by_shard(self, shard_map: ShardMap) -> dict[str, dict[str, Route]]:
        """Sorted by id: all imports lock rows in this order."""
        shards: dict[str, dict[str, Route]] = defaultdict(dict)
        for key, row in sorted(self.pending.items()):
            route = self.kind.route_of(shard_map, row)
            shards[route.shard][key] = route
        return shards

    async def _conflicts_on(self, shard: str, keys: list[str]) -> list[str]:
        async with self.router.cluster.primaries[shard].transaction() as connection:
            return await self._other_content(BulkTransaction(connection, shard), keys)

    async def _known_on(self, shard: str, keys: list[str]) -> list[str]:
        async with self.router.cluster.primaries[shard].transaction() as connection:
            tx = BulkTransaction(connection, shard)
            return list((await tx.execute(self.kind.read_known, ids=keys)).scalars())

    async def _other_content(self, tx: BulkTransaction, keys: list[str]) -> list[str]:
        hashes = [self.pending[key].content_hash for key in keys]
        return list((await tx.execute(self.kind.read_other_content, ids=keys, hashes=hashes)).scalars())

    async def _write_on(self, shard: str, routes: dict[str, Route]) -> None:
        keys = list(routes)
        for start in range(0, len(keys), BATCH_ROWS):
            batch = keys[start : start + BATCH_ROWS]
            async with self.router.cluster.primaries[shard].transaction() as connection:
                new = await self._write_batch(BulkTransaction(connection, shard), batch, routes)
            self.imported += new
            for key in batch:
                del self.pending[key]
            self.on_progress(len(batch))

    async def _write_batch(self, tx: BulkTransaction, batch: list[str], routes: dict[str, Route]) -> int:
        batch_routes = [routes[key] for key in batch]
        new = await self.kind.write(tx, [self.pending[key] for key in batch], batch_routes)
        await tx.assert_owned(batch_routes)
        if len(new) < len(batch):
            # The last commit of an import that was killed just now can arrive after our comparison.
            _refuse(self.kind.noun, await self._other_content(tx, batch))
        return len(new)


def _refuse(noun: str, keys: Sequence[str]) -> None:
    if keys:
        message = f"imported before with other content, nothing was changed: {noun} {_a_few(keys)}"
        raise Refused("id_conflict", message, noun)


def _a_few(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - CONFLICTS_SHOWN_MAX} more" if len(keys) > CONFLICTS_SHOWN_MAX else ""
    return ", ".join(keys[:CONFLICTS_SHOWN_MAX]) + more


async def _gather_all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results; or, when all have ended, the first error, other errors before a stale route, which can be mended."""
    results = await asyncio.gather(*work, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    if errors:
        raise min(errors, key=lambda error: isinstance(error, StaleRoute))
    return [result for result in results if not isinstance(result, BaseException)]


async def _write_customers(tx: BulkTransaction, customers: Sequence[Customer], _: Sequence[Route]) -> list[str]:
    return await customer_rows.register_customers(tx, customers)


async def _write_products(tx: BulkTransaction, products: Sequence[Product], routes: Sequence[Route]) -> list[str]:
    return await product_rows.list_products(tx, products, [route.slot for route in routes])


_CUSTOMERS: _Kind[Customer] = _Kind(
    "customer_id",
    lambda customer: customer.opening_balance.currency,
    lambda shard_map, customer: shard_map.of_customer(customer.customer_id),
    customer_rows.READ_KNOWN,
    customer_rows.READ_OTHER_CONTENT,
    _write_customers,
)
_PRODUCTS: _Kind[Product] = _Kind(
    "sku",
    lambda product: product.unit_price.currency,
    lambda shard_map, product: shard_map.of_sku(product.sku),
    product_rows.READ_KNOWN,
    product_rows.READ_OTHER_CONTENT,
    _write_products,
)
