"""The queries of the read model, on rows as its projection leaves them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import date, timedelta
from typing import Any

import pytest

from domain.errors import Refused, Unreachable
from domain.identifiers import contrast_id
from domain.money import Money
from domain.orders import OrderStatus, PricedLine, Style
from domain.sagas import Reason
from shards.connections.database import Database
from shards.read_model.order_details import Buyer, OrderItem, read_order_details
from shards.read_model.orders import ListedOrder, OrderFilter, OrderKey, list_orders
from shards.read_model.pages import PageAfter
from shards.read_model.read_model import ReadModel
from shards.read_model.sales import SalesBy, SalesFilter, report_sales
from shards.read_model.statement import StatementPage, read_statement_page
from shards.read_model.stock import list_stock
from shards.tables.read_model import metadata
from stack.settings import Databases
from tests.conftest import FreshCluster
from tests.support.read_model import MINUTE, T0, account, fill, item, level, line, order, product, run, sold

MARCH = [date(2026, 3, day) for day in range(1, 32)]
EVERYTHING = OrderFilter()


@pytest.fixture(scope="module")
async def databases(fresh_cluster: FreshCluster) -> AsyncIterator[Databases]:
    async with fresh_cluster() as made:
        yield made


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    """An empty read model."""
    made = Database("read_model", databases.read_model, pool_size=2)
    await run(made, "TRUNCATE " + ", ".join(metadata.tables))
    yield made
    await made.close()


async def orders(database: Database, wanted: OrderFilter = EVERYTHING, limit: int = 100) -> list[ListedOrder]:
    page = await ReadModel(database).run(lambda connection: list_orders(connection, wanted, PageAfter(limit)))
    return list(page.rows)


async def ids(database: Database, **wanted: Any) -> list[str]:
    return [each.order_id for each in await orders(database, OrderFilter(**wanted))]


async def paged(database: Database, wanted: OrderFilter, limit: int) -> list[list[str]]:
    """All pages, each as the ids on it."""
    pages: list[list[str]] = []
    after: OrderKey | None = None
    while True:
        wanted_page = PageAfter(limit, after)
        page = await ReadModel(database).run(lambda connection, p=wanted_page: list_orders(connection, wanted, p))
        pages.append([each.order_id for each in page.rows])
        if page.next is None:
            return pages
        after = page.next


async def statement(database: Database, account_id: str, limit: int = 100, after: int | None = None) -> StatementPage:
    page = PageAfter(limit, after)
    return await ReadModel(database).run(lambda connection: read_statement_page(connection, account_id, page))


# ── lists of orders ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_empty_read_model_lists_nothing(database: Database) -> None:
    assert await paged(database, EVERYTHING, 10) == [[]]
    assert await paged(database, OrderFilter(statuses=frozenset(OrderStatus)), 10) == [[]]


async def test_a_listed_order_has_its_lines_and_times(database: Database) -> None:
    refused = order("A", state="rejected", reason="out_of_stock", detail="TEA: 2 wanted", decided_at=T0 + MINUTE)
    await fill(
        database,
        order_details=[refused, order("B", placed_at=T0 - MINUTE, currency="JPY", total=5)],
        order_item=[item("A", 2, "CUP", quantity=1, unit_price=350), item("A", 1, "TEA")],
    )
    lines = (PricedLine("TEA", 2, Money(700, "USD")), PricedLine("CUP", 1, Money(350, "USD")))
    first, second = await orders(database)
    assert first == ListedOrder(
        "A",
        OrderStatus.REJECTED,
        Reason.OUT_OF_STOCK,
        "TEA: 2 wanted",
        Money(1400, "USD"),
        lines,
        "ada",
        "shard-1",
        T0,
        T0 + MINUTE,
        Style.ORCHESTRATED,
    )
    assert (second.lines, second.total, second.reason, second.decided_at) == ((), Money(5, "JPY"), None, None)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 7, 29, 30, 31])
@pytest.mark.parametrize("by_status", [False, True], ids=["any", "by status"])
async def test_pages_show_each_order_once_even_if_times_are_equal(
    database: Database, limit: int, by_status: bool
) -> None:
    states = ("confirmed", "pending", "rejected")
    placed = [(f"O{n:02}", T0 + (n // 7) * MINUTE, states[n % 3]) for n in range(30)]
    await fill(database, order_details=[order(name, placed_at=at, state=state) for name, at, state in placed])
    expected = [name for _, name in sorted(((at, name) for name, at, _ in placed), reverse=True)]
    wanted = OrderFilter(statuses=frozenset(OrderStatus)) if by_status else EVERYTHING
    pages = await paged(database, wanted, limit)
    assert [name for page in pages for name in page] == expected
    assert {len(page) for page in pages[:-1]} <= {limit}
    assert len(pages) == -(-30 // limit)


async def test_an_order_that_comes_in_meanwhile_shifts_no_later_page(database: Database) -> None:
    await fill(database, order_details=[order(f"O{n}", placed_at=T0 + n * MINUTE) for n in range(6)])
    wanted: PageAfter[OrderKey] = PageAfter(3)
    first = await ReadModel(database).run(lambda connection: list_orders(connection, EVERYTHING, wanted))
    await fill(database, order_details=[order("NEW", placed_at=T0 + 9 * MINUTE)])
    behind = PageAfter(3, first.next)
    second = await ReadModel(database).run(lambda connection: list_orders(connection, EVERYTHING, behind))
    assert [each.order_id for each in (*first.rows, *second.rows)] == ["O5", "O4", "O3", "O2", "O1", "O0"]
    assert second.next is None


async def test_each_filter_lets_through_what_it_names(database: Database) -> None:
    await fill(
        database,
        order_details=[
            order("1", placed_at=T0, customer_id="ada", state="confirmed"),
            order("2", placed_at=T0 + MINUTE, customer_id="bob", state="pending"),
            order("3", placed_at=T0 + 2 * MINUTE, customer_id="ada", state="aborting", reason="cancelled"),
            order("4", placed_at=T0 + timedelta(days=1), customer_id="ada", state="rejected", reason="out_of_stock"),
            order("5", placed_at=T0 + timedelta(days=2), customer_id="bob", state="cancelled", day=T0.date()),
        ],
    )
    assert await ids(database) == ["5", "4", "3", "2", "1"]
    assert await ids(database, customer_id="ada") == ["4", "3", "1"]
    assert await ids(database, customer_id="nobody") == []
    assert await ids(database, statuses=frozenset({OrderStatus.COMPENSATING})) == ["3"]
    assert await ids(database, statuses=frozenset({OrderStatus.REJECTED, OrderStatus.CONFIRMED})) == ["4", "1"]
    assert await ids(database, since=T0 + MINUTE) == ["5", "4", "3", "2"]
    assert await ids(database, until=T0 + MINUTE) == ["1"]
    assert await ids(database, since=T0 + MINUTE, until=T0 + 2 * MINUTE) == ["2"]
    assert await ids(database, day=T0.date()) == ["5", "3", "2", "1"]
    assert await ids(database, customer_id="ada", statuses=frozenset({OrderStatus.CONFIRMED}), day=T0.date()) == ["1"]


async def test_a_stuck_order_has_no_other_status(database: Database) -> None:
    await fill(
        database,
        order_details=[
            order("done", placed_at=T0, state="confirmed"),
            order("held", placed_at=T0 + MINUTE, state="pending"),
            order("open", placed_at=T0 + 2 * MINUTE, state="pending"),
            order("undone", placed_at=T0 + 3 * MINUTE, state="aborting", reason="cancelled"),
        ],
    )
    # A final order is what its row says, however late its workflow learns of it.
    stuck = frozenset({"done", "held", "undone", "elsewhere"})
    shown = {each.order_id: each.status for each in await orders(database, OrderFilter(stuck=stuck))}
    assert shown == {
        "undone": OrderStatus.STUCK,
        "open": OrderStatus.PENDING,
        "held": OrderStatus.STUCK,
        "done": OrderStatus.CONFIRMED,
    }
    for statuses, expected in (
        ({OrderStatus.STUCK}, ["undone", "held"]),
        ({OrderStatus.PENDING}, ["open"]),
        ({OrderStatus.COMPENSATING}, []),
        ({OrderStatus.CONFIRMED, OrderStatus.STUCK}, ["undone", "held", "done"]),
        (set(OrderStatus), ["undone", "open", "held", "done"]),
    ):
        assert await ids(database, stuck=stuck, statuses=frozenset(statuses)) == expected
        wanted = OrderFilter(stuck=stuck, statuses=frozenset(statuses))
        assert [name for page in await paged(database, wanted, 1) for name in page] == expected
    assert await ids(database, statuses=frozenset({OrderStatus.STUCK})) == []


# ── one order ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_details_of_an_order_are_all_there_is(database: Database) -> None:
    await fill(
        database,
        order_details=[order("A", ship_to={"city": "Turin"}, decided_at=T0 + MINUTE, day=MARCH[4])],
        order_item=[item("A", 2, "CUP"), item("A", 1, "TEA", product_name="Tea, green", quantity=3)],
    )
    found = await ReadModel(database).run(lambda connection: read_order_details(connection, "A"))
    assert found.items == (
        OrderItem("TEA", "Tea, green", 3, Money(700, "USD"), Money(2100, "USD")),
        OrderItem("CUP", "CUP", 2, Money(700, "USD"), Money(1400, "USD")),
    )
    assert found.customer == Buyer("ada", "Ada Lovelace", "ada@example.org")
    assert (found.ship_to, found.day, found.version, found.style) == ({"city": "Turin"}, MARCH[4], 2, "orchestrated")
    assert (found.placed_at, found.decided_at, found.closed_at) == (T0, T0 + MINUTE, None)


async def test_an_order_without_items_yet_is_shown_without(database: Database) -> None:
    await fill(database, order_details=[order("A", state="aborting", reason="cancelled", detail=None)])
    found = await ReadModel(database).run(lambda connection: read_order_details(connection, "A"))
    assert (found.items, found.status, found.reason) == ((), OrderStatus.COMPENSATING, Reason.CANCELLED)


async def test_an_order_that_is_not_there_may_not_be_there_yet(database: Database) -> None:
    with pytest.raises(Refused, match="may not have it yet") as refused:
        await ReadModel(database).run(lambda connection: read_order_details(connection, "A"))
    assert (refused.value.code, refused.value.field) == ("unknown_order", "order_id")


# ── statements ──────────────────────────────────────────────────────────────────────────────────────────────────

AMOUNTS = (1000, -150, 25, -300, -1, 2, 5000)


async def fill_statement(database: Database, amounts: Iterable[int] = AMOUNTS) -> list[tuple[int, int]]:
    """What the statement must show, newest first: amounts and the balances that they left."""
    lines = [line("ada", 10 * n, amount) for n, amount in enumerate(amounts, 1)]
    balances = [sum(each["amount"] for each in lines[: n + 1]) for n in range(len(lines))]
    await fill(
        database,
        account_details=[account("ada", balances[-1]), account("bob", 7)],
        statement_line=[*lines, line("bob", 35, 7)],
    )
    return [(each["amount"], balance) for each, balance in zip(lines, balances, strict=True)][::-1]


@pytest.mark.parametrize("limit", range(1, 9))
async def test_each_line_has_its_balance_on_whatever_page(database: Database, limit: int) -> None:
    expected = await fill_statement(database)
    shown: list[tuple[int, int]] = []
    after: int | None = None
    for _ in expected:
        found = await statement(database, "ada", limit, after)
        assert found.balance == Money(sum(AMOUNTS), "USD")
        shown += [(each.amount.minor, each.balance_after.minor) for each in found.lines.rows]
        after = found.lines.next
        if after is None:
            break
    assert shown == expected
    assert after is None


async def test_a_movement_that_comes_in_shifts_no_page_and_no_balance(database: Database) -> None:
    expected = await fill_statement(database)
    first = await statement(database, "ada", 3)
    await fill(database, statement_line=[line("ada", 90, -40)])
    await run(database, "UPDATE live.account_details SET stated = stated - 40 WHERE id = 'ada'")
    second = await statement(database, "ada", 3, first.lines.next)
    shown = [(each.amount.minor, each.balance_after.minor) for each in (*first.lines.rows, *second.lines.rows)]
    assert shown == expected[:6]
    assert second.balance == first.balance - Money(40, "USD")


async def test_an_account_without_movements_has_an_empty_statement(database: Database) -> None:
    await fill(database, account_details=[account("ada", 0, "JPY")])
    found = await statement(database, "ada")
    assert (found.balance, found.lines.rows, found.lines.next) == (Money(0, "JPY"), (), None)
    with pytest.raises(Refused) as refused:
        await statement(database, "nobody")
    assert (refused.value.code, refused.value.field) == ("unknown_account", "account_id")


# ── stock ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_stock_is_listed_by_sku_and_named_by_its_product(database: Database) -> None:
    await fill(
        database,
        stock_level=[level(sku, 10, 3) for sku in ("B-2", "A-1", "C-3")],
        product=[product("A-1", "Chai"), product("B-2", "Chang")],
    )
    shown: list[tuple[str, str, int]] = []
    after: str | None = None
    while True:
        wanted = PageAfter(2, after)
        found = await ReadModel(database).run(lambda connection, page=wanted: list_stock(connection, page))
        shown += [(each.sku, each.product_name, each.available) for each in found.rows]
        if (after := found.next) is None:
            break
    assert shown == [("A-1", "Chai", 7), ("B-2", "Chang", 7), ("C-3", "C-3", 7)]


# ── sales ───────────────────────────────────────────────────────────────────────────────────────────────────────

Rows = list[tuple[Any, ...]]


@pytest.fixture
async def sales(database: Database) -> Database:
    """On the first of March one order of both products and one of tea alone; then tea in two currencies."""
    await fill(
        database,
        product=[product("TEA", "Tea, green")],
        sales=[
            sold(MARCH[0], "TEA", 2100, orders=2, units=3),
            sold(MARCH[0], "CUP", 350, orders=1, units=1),
            sold(MARCH[1], "TEA", 700),
            sold(MARCH[1], "TEA", 650, currency="EUR"),
        ],
        order_details=[
            order("1", day=MARCH[0]),
            order("2", day=MARCH[0]),
            order("3", day=MARCH[0], state="rejected", reason="out_of_stock"),
            order("4", day=MARCH[1]),
            order("5", day=MARCH[1], currency="EUR"),
        ],
    )
    return database


async def report(database: Database, by: SalesBy, **wanted: Any) -> Rows:
    found = await ReadModel(database).run(lambda connection: report_sales(connection, SalesFilter(**wanted), by))
    return [
        (each.day, each.sku, each.product_name, each.orders, each.units, each.amount.minor, each.amount.currency)
        for each in found
    ]


async def test_sales_by_product_and_day(sales: Database) -> None:
    assert await report(sales, SalesBy.PRODUCT_DAY) == [
        (MARCH[0], "CUP", "CUP", 1, 1, 350, "USD"),
        (MARCH[0], "TEA", "Tea, green", 2, 3, 2100, "USD"),
        (MARCH[1], "TEA", "Tea, green", 1, 1, 650, "EUR"),
        (MARCH[1], "TEA", "Tea, green", 1, 1, 700, "USD"),
    ]


async def test_sales_by_product(sales: Database) -> None:
    assert await report(sales, SalesBy.PRODUCT) == [
        (None, "CUP", "CUP", 1, 1, 350, "USD"),
        (None, "TEA", "Tea, green", 1, 1, 650, "EUR"),
        (None, "TEA", "Tea, green", 3, 4, 2800, "USD"),
    ]


async def test_sales_by_day_count_an_order_of_several_products_once(sales: Database) -> None:
    assert await report(sales, SalesBy.DAY) == [
        (MARCH[0], None, None, 2, 4, 2450, "USD"),
        (MARCH[1], None, None, 1, 1, 650, "EUR"),
        (MARCH[1], None, None, 1, 1, 700, "USD"),
    ]
    assert await report(sales, SalesBy.DAY, sku="TEA", last_day=MARCH[0]) == [(MARCH[0], None, None, 2, 3, 2100, "USD")]


async def test_sales_of_a_period_or_a_product(sales: Database) -> None:
    for by in SalesBy:
        assert {row[0] for row in await report(sales, by, first_day=MARCH[1])} <= {None, MARCH[1]}
        assert sum(row[5] for row in await report(sales, by, first_day=MARCH[1])) == 1350
        assert sum(row[5] for row in await report(sales, by, last_day=MARCH[0])) == 2450
        assert sum(row[5] for row in await report(sales, by, sku="CUP")) == 350
        assert await report(sales, by, first_day=MARCH[2]) == []
        assert await report(sales, by, sku="NONE") == []


# ── what `shardwise contrast` has made ──────────────────────────────────────────────────────────────────────────


async def test_lists_and_reports_leave_out_what_the_contrast_made(sales: Database) -> None:
    order_id, customer_id, sku = (contrast_id(name) for name in ("o-1", "c-1", "A-1"))
    before = {by: await report(sales, by) for by in SalesBy}
    await fill(
        sales,
        order_details=[
            order(order_id, customer_id=customer_id, placed_at=T0 + MINUTE),
            order(contrast_id("o-2"), customer_id=customer_id, state="pending", placed_at=T0 + MINUTE),
        ],
        order_item=[item(order_id, sku=sku)],
        product=[product(sku, "Contrast")],
        stock_level=[level(sku), level("TEA")],
        sales=[sold(MARCH[0], sku, 1400, units=2)],
    )
    assert await ids(sales) == ["5", "4", "3", "2", "1"]
    assert await paged(sales, EVERYTHING, 2) == [["5", "4"], ["3", "2"], ["1"]]
    assert await ids(sales, customer_id=customer_id) == []
    assert await ids(sales, statuses=frozenset({OrderStatus.PENDING})) == []
    stuck = frozenset({contrast_id("o-2")})
    assert await ids(sales, statuses=frozenset({OrderStatus.STUCK}), stuck=stuck) == []
    stock = await ReadModel(sales).run(lambda connection: list_stock(connection, PageAfter(1)))
    assert ([each.sku for each in stock.rows], stock.next) == (["TEA"], None)
    assert {by: await report(sales, by) for by in SalesBy} == before
    assert await report(sales, SalesBy.PRODUCT, sku=sku) == []
    details = await ReadModel(sales).run(lambda connection: read_order_details(connection, order_id))
    assert details.customer.customer_id == customer_id


# ── the connections ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_version_that_took_the_place_of_another_answers_at_once(database: Database) -> None:
    """On the same connections: nothing of the version before is kept in a plan."""
    await fill(database, order_details=[order("OLD")], order_item=[item("OLD")])
    assert await ids(database) == ["OLD"]
    await run(database, "CREATE SCHEMA next")
    try:
        copies = [
            f"CREATE TABLE next.{name.removeprefix('live.')} (LIKE {name} INCLUDING ALL)" for name in metadata.tables
        ]
        moved = ["INSERT INTO next.order_details SELECT * FROM live.order_details"]
        renamed = ["UPDATE next.order_details SET id = 'NEW'"]
        await run(database, *copies, *moved, *renamed)
        assert await ids(database) == ["OLD"]
        await run(database, "ALTER SCHEMA live RENAME TO old", "ALTER SCHEMA next RENAME TO live")
        for _ in range(8):  # Both connections, and past the executions after which a plan may be generic.
            assert await ids(database) == ["NEW"]
    finally:
        await run(database, "DROP SCHEMA IF EXISTS next CASCADE")
        await run(database, "DROP SCHEMA live CASCADE", "ALTER SCHEMA old RENAME TO live")


async def test_a_read_model_that_is_away_is_named(databases: Databases) -> None:
    away = databases.read_model.replace(databases.read_model.split(":")[-1].split("/")[0], "1")
    database = Database("read_model", away)
    with pytest.raises(Unreachable, match="read_model does not answer"):
        await ids(database)
    await database.close()
