"""Customers and products in bulk: all or nothing before the first write, safe to repeat, at once, and after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from sqlalchemy import text

from domain.catalogue import Customer, Product
from domain.errors import Refused, StaleRoute
from domain.identifiers import merchant_account_id
from domain.money import Money
from domain.shard_map import bucket_of
from shards.catalogue import imports
from shards.catalogue.imports import Imported, import_customers, import_products
from shards.connections.cluster import Cluster
from shards.routing.map_store import load_map
from shards.routing.router import Router
from stack.settings import Databases


class Killed(BaseException):
    """Stands for the death of the process."""


@pytest.fixture
def router(cluster: Cluster) -> Router:
    return Router(cluster)


@pytest.fixture
async def other_router(cluster_dsns: Databases) -> AsyncIterator[Router]:
    """Another process: connections and a cached map of its own."""
    async with Cluster(cluster_dsns.shards, cluster_dsns.catalog, cluster_dsns.read_model, pool_size=5) as cluster:
        yield Router(cluster)


def customer(number: int, opening: str = "10.00", name: str = "Ada", currency: str = "USD") -> Customer:
    return Customer(f"C-{number:04}", name, None, Money.parse(opening, currency))


def product(number: int, stock: int = 5, price: str = "2.50", currency: str = "USD") -> Product:
    return Product(f"SKU-{number:04}", "Chai", Money.parse(price, currency), stock)


def customers(count: int) -> list[Customer]:
    return [customer(number) for number in range(count)]


def products(count: int) -> list[Product]:
    return [product(number) for number in range(count)]


async def on_shards(cluster: Cluster, query: str, **parameters: Any) -> dict[str, list[tuple[Any, ...]]]:
    """By shard, the rows that the query returns; shards without rows are left out."""
    found = {}
    for name, shard in cluster.primaries.items():
        async with shard.transaction() as connection:
            result = await connection.execute(text(query), parameters)
            rows = [tuple(row) for row in result] if result.returns_rows else []
            if rows:
                found[name] = rows
    return found


async def everywhere(cluster: Cluster, query: str) -> list[tuple[Any, ...]]:
    return sorted(row for rows in (await on_shards(cluster, query)).values() for row in rows)


async def everything(cluster: Cluster) -> list[list[tuple[Any, ...]]]:
    """All that an import writes, without clocks, transaction ids and sequence numbers."""
    return [
        await everywhere(cluster, query)
        for query in (
            "SELECT id, bucket, name, coalesce(email, ''), content_hash FROM customer",
            "SELECT id, kind, currency, coalesce(bucket, -1), coalesce(posted, -1), held, version FROM account",
            "SELECT saga_id, kind, n, account_id, amount FROM movement JOIN entry ON movement_id = id",
            "SELECT sku, name, currency, unit_price, content_hash FROM product",
            "SELECT sku, sku_range, on_hand, reserved, version FROM stock",
            "SELECT id, sku, quantity FROM stock_receipt",
            "SELECT aggregate, aggregate_id, aggregate_version, kind, origin_shard, saga_id FROM outbox",
        )
    ]


async def test_a_customer_has_an_account_paid_in_from_the_equity_of_its_shard(router: Router) -> None:
    ada = Customer("ADA", "Ada", "ada@example.org", Money.parse("12.34", "EUR"))
    assert await import_customers(router, [ada]) == Imported(total=1, imported=1, unchanged=0)

    shard = (await router.map()).of_customer("ADA").shard
    bucket = bucket_of("ADA")
    assert await on_shards(router.cluster, "SELECT id, bucket, name, email FROM customer") == {
        shard: [("ADA", bucket, "Ada", "ada@example.org")]
    }
    accounts = "SELECT id, kind, currency, bucket, posted, state FROM account ORDER BY kind"
    assert await on_shards(router.cluster, accounts) == {
        shard: [("ADA", "customer", "EUR", bucket, 1234, "open"), ("equity/EUR", "equity", "EUR", None, None, "open")]
    }
    entries = "SELECT saga_id, kind, account_id, amount FROM movement JOIN entry ON movement_id = id ORDER BY n"
    assert await on_shards(router.cluster, entries) == {
        shard: [("opening/ADA", "opening", "equity/EUR", -1234), ("opening/ADA", "opening", "ADA", 1234)]
    }


async def test_every_new_row_puts_an_event_into_the_outbox_of_its_shard(router: Router) -> None:
    await import_customers(router, [customer(1)])
    await import_products(router, [product(1)])
    events = """
        SELECT kind, aggregate, aggregate_id, aggregate_version, payload
        FROM outbox JOIN shard_identity ON name = origin_shard
    """
    found = [row for rows in (await on_shards(router.cluster, events)).values() for row in rows]
    assert sorted(found, key=lambda row: (row[0], row[2])) == [
        ("AccountOpened", "account", "C-0001", 1, {"balance": "10.00 USD"}),
        ("AccountOpened", "account", "merchant.USD", 1, {"balance": "0.00 USD"}),
        ("CustomerRegistered", "customer", "C-0001", 1, {"name": "Ada", "email": None}),
        ("ProductListed", "product", "SKU-0001", 1, {"name": "Chai", "unit_price": "2.50 USD"}),
        ("StockOpened", "stock", "SKU-0001", 1, {"quantity": 5}),
    ]


async def test_an_opening_balance_of_zero_moves_nothing_and_a_stock_of_zero_has_no_receipt(router: Router) -> None:
    await import_customers(router, [customer(1, opening="0.00")])
    await import_products(router, [product(1, stock=0)])
    assert await everywhere(router.cluster, "SELECT posted FROM account WHERE kind = 'customer'") == [(0,)]
    for table in ("movement", "entry", "stock_receipt"):
        assert await everywhere(router.cluster, f"SELECT * FROM {table}") == []
    assert await everywhere(router.cluster, "SELECT id FROM account WHERE kind = 'equity'") == []


async def test_the_same_rows_again_change_nothing(router: Router) -> None:
    people, goods = customers(30), products(30)
    await import_customers(router, people)
    await import_products(router, goods)
    before = await everything(router.cluster)

    assert await import_customers(router, people) == Imported(total=30, imported=0, unchanged=30)
    assert await import_products(router, goods) == Imported(total=30, imported=0, unchanged=30)
    assert await everything(router.cluster) == before


async def test_goods_sold_since_the_import_are_no_conflict(router: Router) -> None:
    await import_products(router, [product(1)])
    await on_shards(router.cluster, "UPDATE stock SET on_hand = 2, version = 2")
    assert await import_products(router, [product(1)]) == Imported(total=1, imported=0, unchanged=1)
    assert await everywhere(router.cluster, "SELECT on_hand, version FROM stock") == [(2, 2)]


async def test_other_content_under_a_known_id_is_refused_and_nothing_changes(router: Router) -> None:
    await import_customers(router, customers(3))
    await import_products(router, products(3))
    before, map_before = await everything(router.cluster), await load_map(router.cluster.catalog)

    with pytest.raises(Refused, match="C-0002") as refused:
        await import_customers(router, [*customers(2), customer(2, name="Eve"), *map(customer, range(50, 80))])
    assert (refused.value.code, refused.value.field) == ("id_conflict", "customer_id")
    with pytest.raises(Refused, match="SKU-0001"):
        await import_products(router, [product(1, price="2.51"), product(70, currency="EUR")])

    assert await everything(router.cluster) == before
    assert await load_map(router.cluster.catalog) == map_before


async def test_a_conflict_names_a_few_ids_and_counts_the_rest(router: Router) -> None:
    await import_customers(router, customers(8))
    with pytest.raises(Refused, match=r"C-0000, .*, C-0004 and 3 more"):
        await import_customers(router, [customer(number, opening="11.00") for number in range(8)])


async def test_two_imports_of_the_same_rows_at_once_leave_what_one_leaves(
    router: Router, other_router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BATCH_ROWS", 7)
    people, goods = customers(60), products(60)
    both = await asyncio.gather(import_customers(router, people), import_customers(other_router, people))
    assert sum(done.imported for done in both) == 60
    assert sum(done.unchanged for done in both) == 60
    both = await asyncio.gather(import_products(router, goods), import_products(other_router, goods))
    assert sum(done.imported for done in both) == 60
    assert sum(done.unchanged for done in both) == 60

    assert len(await everywhere(router.cluster, "SELECT id FROM customer")) == 60
    assert len(await everywhere(router.cluster, "SELECT id FROM movement")) == 60
    assert len(await everywhere(router.cluster, "SELECT sku FROM stock")) == 60
    assert len(await everywhere(router.cluster, "SELECT id FROM account WHERE kind = 'merchant'")) == 1


async def test_of_two_conflicting_imports_at_once_one_is_whole_and_the_other_changes_nothing(
    router: Router, other_router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "BATCH_ROWS", 7)
    sets = [customers(60), [customer(number, name="Eve") for number in range(60)]]
    results = await asyncio.gather(
        import_customers(router, sets[0]), import_customers(other_router, sets[1]), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Imported", "Refused"]
    names = await everywhere(router.cluster, "SELECT name FROM customer")
    assert len(names) == 60
    assert len(set(names)) == 1


@pytest.mark.parametrize("batches_before_the_crash", [1, 3, 6])
async def test_an_import_that_died_is_completed_by_the_next(
    router: Router, monkeypatch: pytest.MonkeyPatch, batches_before_the_crash: int
) -> None:
    monkeypatch.setattr(imports, "BATCH_ROWS", 10)
    done = 0

    def die(_: int) -> None:
        nonlocal done
        done += 1
        if done >= batches_before_the_crash:
            raise Killed

    with pytest.raises(Killed):
        await import_customers(router, customers(100), die)
    assert await everywhere(router.cluster, "SELECT id FROM customer") == await everywhere(
        router.cluster, "SELECT id FROM account WHERE kind = 'customer' AND posted = 1000"
    )
    again = await import_customers(router, customers(100))
    assert again.imported + again.unchanged == 100
    assert again.unchanged >= 10
    assert len(await everywhere(router.cluster, "SELECT saga_id FROM movement")) == 100


async def test_the_first_import_spreads_the_stock_over_all_shards(router: Router) -> None:
    await import_products(router, products(30))
    counts = await on_shards(router.cluster, "SELECT count(*) FROM stock")
    assert counts == {shard: [(10,)] for shard in router.cluster.primaries}
    ranges = await on_shards(router.cluster, "SELECT DISTINCT sku_range FROM stock")
    assert ranges == {shard: [(bound,)] for bound, shard in (await router.map()).ranges}


async def test_on_hand_is_the_sum_of_receipts(router: Router) -> None:
    await import_products(router, [product(number, stock=number) for number in range(20)])
    differing = """
        SELECT sku FROM stock LEFT JOIN stock_receipt USING (sku)
        GROUP BY sku, on_hand HAVING on_hand <> coalesce(sum(quantity), 0)
    """
    assert await on_shards(router.cluster, differing) == {}


async def test_each_currency_of_the_products_has_a_pinned_merchant(router: Router) -> None:
    await import_products(router, [product(1), product(2, currency="EUR"), product(3, currency="EUR")])
    shard_map = await router.map()
    assert set(shard_map.pins) == {"merchant.EUR", "merchant.USD"}
    found = await on_shards(router.cluster, "SELECT id, posted, bucket FROM account WHERE kind = 'merchant'")
    placed = {row[0]: shard for shard, rows in found.items() for row in rows}
    assert placed == dict(shard_map.pins)
    assert all(row[1:] == (0, None) for rows in found.values() for row in rows)


async def test_the_merchant_is_there_before_anything_can_be_sold(router: Router) -> None:
    await import_products(router, products(9))
    await on_shards(router.cluster, "UPDATE ownership SET state = 'fenced' WHERE keyspace = 'sku_range'")
    with pytest.raises(StaleRoute):
        await import_products(router, [product(50, currency="EUR")])
    merchants = await everywhere(router.cluster, "SELECT id FROM account WHERE kind = 'merchant'")
    assert (merchant_account_id("EUR"),) in merchants
    assert len(await everywhere(router.cluster, "SELECT sku FROM product")) == 9


async def _move_bucket(cluster: Cluster, bucket: int, source: str, target: str) -> None:
    async with cluster.catalog.transaction() as connection:
        await connection.execute(text("UPDATE shard_map SET version = version + 1"))
        moved = "UPDATE map_bucket SET shard = :shard, version = (SELECT version FROM shard_map) WHERE bucket = :bucket"
        await connection.execute(text(moved), {"shard": target, "bucket": bucket})
        version = (await connection.execute(text("SELECT version FROM shard_map"))).scalar_one()
    for name, statement in (
        (source, "DELETE FROM ownership WHERE keyspace = 'bucket' AND slot = :slot"),
        (target, "INSERT INTO ownership VALUES ('bucket', :slot, :version, 'owned')"),
    ):
        async with cluster.primaries[name].transaction() as connection:
            parameters: dict[str, object] = {"slot": str(bucket)}
            if name == target:
                parameters["version"] = version
            await connection.execute(text(statement), parameters)


async def test_a_stale_map_is_refused_by_the_shard_and_read_again(router: Router) -> None:
    people: Sequence[Customer] = customers(30)
    moved = people[0].customer_id
    source = (await router.map()).of_customer(moved).shard
    target = next(name for name in router.cluster.primaries if name != source)
    await _move_bucket(router.cluster, bucket_of(moved), source, target)

    assert await import_customers(router, people) == Imported(total=30, imported=30, unchanged=0)
    found = await on_shards(router.cluster, "SELECT id FROM customer WHERE id = :id", id=moved)
    assert found == {target: [(moved,)]}


async def test_a_slot_that_nobody_owns_takes_no_rows(router: Router) -> None:
    await on_shards(router.cluster, "UPDATE ownership SET state = 'fenced'")
    with pytest.raises(StaleRoute):
        await import_customers(router, customers(5))
    assert await everything(router.cluster) == [[]] * 7


async def test_ten_thousand_rows_go_in_as_sets(router: Router) -> None:
    imported: list[int] = []
    done = await import_customers(router, customers(10_000), imported.append)
    assert done == Imported(total=10_000, imported=10_000, unchanged=0)
    assert sum(imported) == 10_000
    unbalanced = "SELECT movement_id FROM entry GROUP BY movement_id HAVING sum(amount) <> 0 OR count(*) <> 2"
    assert await on_shards(router.cluster, unbalanced) == {}
    wrong = """
        SELECT id FROM account JOIN (SELECT account_id, sum(amount) AS total FROM entry GROUP BY account_id) AS e
        ON account_id = id WHERE kind = 'customer' AND posted <> total
    """
    assert await on_shards(router.cluster, wrong) == {}
