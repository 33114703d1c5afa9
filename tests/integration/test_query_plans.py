"""Each query of the read model finds its rows by an index, as the planner decides by itself on filled tables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import event

from domain.orders import OrderStatus
from shards.connections.database import Database
from shards.read_model.order_details import read_order_details
from shards.read_model.orders import OrderFilter, list_orders
from shards.read_model.pages import PageAfter
from shards.read_model.read_model import Query, ReadModel
from shards.read_model.sales import SalesBy, SalesFilter, report_sales
from shards.read_model.statement import read_statement_page
from shards.read_model.stock import list_stock
from stack.embedded.waiting import attempts
from tests.conftest import FreshCluster
from tests.support.read_model import T0, run

ROWS = 20_000
DAY = date(2026, 3, 1)

# An order a minute; one in a thousand is pending, one in a hundred rejected; a hundred customers, a thousand products.
FILLED = (
    f"""INSERT INTO live.order_details (id, shard, customer_id, customer_name, style, currency, total, state, reason,
            day, placed_at, version)
        SELECT 'O' || n, 'shard-1', 'C' || n % 100, 'Ada', 'orchestrated', 'USD', 1400,
            CASE WHEN n % 1000 = 0 THEN 'pending' WHEN n % 100 = 1 THEN 'rejected' ELSE 'confirmed' END,
            CASE WHEN n % 100 = 1 THEN 'out_of_stock' END,
            CAST(timestamptz '{T0}' + n * interval '1 minute' AS date), timestamptz '{T0}' + n * interval '1 minute', 2
        FROM generate_series(1, {ROWS}) AS n""",
    f"""INSERT INTO live.order_item (order_id, n, sku, quantity, unit_price)
        SELECT 'O' || n, line, 'S' || (n + line) % 1000, 1, 700
        FROM generate_series(1, {ROWS}) AS n, generate_series(1, 2) AS line""",
    f"""INSERT INTO live.product
        SELECT 'S' || n, 'shard-1', 'Tea', 'USD', 700, 1 FROM generate_series(1, {ROWS}) AS n""",
    f"""INSERT INTO live.stock_level SELECT 'S' || n, 'shard-1', 10, 0, 1 FROM generate_series(1, {ROWS}) AS n""",
    f"""INSERT INTO live.account_details (id, shard, kind, currency, posted, held, overdraft, state, version, stated)
        SELECT 'C' || n, 'shard-1', 'customer', 'USD', 200, 0, 0, 'open', 1, 200
        FROM generate_series(0, {ROWS}) AS n""",
    f"""INSERT INTO live.statement_line
        SELECT 'C' || n % 100, 'order/O' || n, 'capture', n, timestamptz '{T0}', 1, 'merchant.USD'
        FROM generate_series(1, {ROWS}) AS n""",
    f"""INSERT INTO live.sales
        SELECT date '{DAY}' + n / 1000, 'S' || n % 1000, 'USD', 1, 1, 700 FROM generate_series(0, {ROWS - 1}) AS n""",
)

PAGE: PageAfter[Any] = PageAfter(50)
LATER: PageAfter[Any] = PageAfter(50, (T0 + timedelta(days=5), "O7000"))
LISTS = {
    "all": OrderFilter(),
    "of a customer": OrderFilter(customer_id="C7"),
    "of a status": OrderFilter(statuses=frozenset({OrderStatus.CONFIRMED})),
    "of a rare status": OrderFilter(statuses=frozenset({OrderStatus.PENDING})),
    "of several statuses": OrderFilter(statuses=frozenset({OrderStatus.PENDING, OrderStatus.REJECTED})),
    "of every status": OrderFilter(statuses=frozenset(OrderStatus), stuck=frozenset({"O1000", "O2000"})),
    "of a customer's status": OrderFilter(customer_id="C7", statuses=frozenset({OrderStatus.CONFIRMED})),
    "stuck": OrderFilter(statuses=frozenset({OrderStatus.STUCK}), stuck=frozenset({"O1000", "O2000"})),
    "since": OrderFilter(since=T0 + timedelta(days=3)),
    "until": OrderFilter(until=T0 + timedelta(days=3)),
    "of a period": OrderFilter(since=T0 + timedelta(days=3), until=T0 + timedelta(days=4)),
    "of a day": OrderFilter(day=DAY + timedelta(days=3)),
}


def _orders(wanted: OrderFilter, page: PageAfter[Any]) -> Query[Any]:
    return lambda connection: list_orders(connection, wanted, page)


def _sales(by: SalesBy, **wanted: Any) -> Query[Any]:
    return lambda connection: report_sales(connection, SalesFilter(**wanted), by)


QUERIES: dict[str, Query[Any]] = {
    **{f"orders {name}": _orders(wanted, PAGE) for name, wanted in LISTS.items()},
    **{f"orders {name}, a later page": _orders(wanted, LATER) for name, wanted in LISTS.items()},
    "details": lambda connection: read_order_details(connection, "O7000"),
    "statement": lambda connection: read_statement_page(connection, "C7", PAGE),
    "statement, a later page": lambda connection: read_statement_page(connection, "C7", PageAfter(50, 10_000)),
    "stock": lambda connection: list_stock(connection, PAGE),
    "stock, a later page": lambda connection: list_stock(connection, PageAfter(50, "S5")),
}
REPORTS: dict[str, Query[Any]] = {
    **{f"of a day by {by}": _sales(by, first_day=DAY, last_day=DAY) for by in SalesBy},
    **{f"of a product by {by}": _sales(by, sku="S7") for by in SalesBy},
}


@pytest.fixture(scope="module")
async def filled(fresh_cluster: FreshCluster) -> AsyncIterator[Database]:
    async with fresh_cluster() as made:
        database = Database("read_model", made.read_model, pool_size=1, long_running=True)
        await run(database, *FILLED)
        await vacuumed(database)
        yield database
        await database.close()


async def vacuumed(database: Database) -> None:
    """As autovacuum leaves tables: sums over an index alone need to know which pages all can see. Not all can while
    another snapshot is open, or the commit is not on the disk yet."""
    pages = "SELECT relallvisible FROM pg_class WHERE oid = CAST('live.statement_line' AS regclass)"
    async with database.autocommit() as connection:
        async for _ in attempts(30):
            await connection.exec_driver_sql("VACUUM ANALYZE")
            if (await connection.exec_driver_sql(pages)).scalar_one() > 0:
                return
    raise AssertionError("no page is seen by all")


@contextmanager
def executed(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are executed inside the block, as they go to the driver, with their parameters."""
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        seen.append((statement, parameters))

    event.listen(database.events, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(database.events, "before_cursor_execute", note)


async def plan_of(database: Database, query: Query[Any]) -> dict[str, Any]:
    """The plan that the planner makes for the query's one statement with these values."""
    with executed(database) as seen:
        await ReadModel(database).run(query)
    [(statement, parameters)] = seen
    async with database.transaction() as connection:
        explained = await connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        found = explained.scalar_one()
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def read_whole(plan: dict[str, Any]) -> set[str]:
    """The tables that the plan reads as a whole."""
    scans = [(node["Relation Name"], node["Node Type"]) for node in nodes(plan) if "Relation Name" in node]
    assert scans
    return {table for table, how in scans if how == "Seq Scan"}


@pytest.mark.parametrize("name", QUERIES)
async def test_no_query_reads_a_whole_table(filled: Database, name: str) -> None:
    plan = await plan_of(filled, QUERIES[name])
    assert not read_whole(plan), json.dumps(plan, indent=1)


@pytest.mark.parametrize("name", REPORTS)
async def test_a_report_reads_no_more_sales_than_it_is_about(filled: Database, name: str) -> None:
    """A thousand products' names may be looked up by reading all of them."""
    plan = await plan_of(filled, REPORTS[name])
    assert read_whole(plan) <= {"product"}, json.dumps(plan, indent=1)


@pytest.mark.parametrize("name", [name for name in QUERIES if name.startswith("orders")])
async def test_a_page_of_orders_is_not_sorted_out_of_more_than_pages(filled: Database, name: str) -> None:
    """Each branch comes in its index's order; what is sorted is what was found by ids, or is no longer than pages."""
    plan = await plan_of(filled, QUERIES[name])
    sorted_rows = [node["Plans"][0]["Plan Rows"] for node in nodes(plan) if node["Node Type"] == "Sort"]
    assert max(sorted_rows, default=0) <= 51 * len(OrderStatus), json.dumps(plan, indent=1)


async def test_balances_are_summed_over_the_index_alone(filled: Database) -> None:
    plan = await plan_of(filled, QUERIES["statement, a later page"])
    used = {(node["Node Type"], node.get("Index Name")) for node in nodes(plan)}
    assert ("Index Only Scan", "statement_line_position") in used, json.dumps(plan, indent=1)


async def test_a_query_without_its_index_would_be_found(filled: Database) -> None:
    """The planner does read whole tables here if nothing else is left."""
    await run(filled, "DROP INDEX live.order_details_customer", "ANALYZE")
    try:
        plan = await plan_of(filled, _orders(OrderFilter(customer_id="nobody"), PAGE))
        assert {"Seq Scan", "Sort"} & {node["Node Type"] for node in nodes(plan)}
    finally:
        await run(
            filled, "CREATE INDEX order_details_customer ON live.order_details (customer_id, placed_at, id)", "ANALYZE"
        )
