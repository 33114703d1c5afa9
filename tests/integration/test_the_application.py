"""What a program in Python gets: typed results, and errors by kind, whatever service it calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest

from domain.catalogue import Customer, Product
from domain.money import Money
from domain.orders import OrderStatus
from shardwise import InvalidInput, NotFound, Refused, Shardwise, ShardwiseError, Unreachable
from stack.settings import Settings
from tests.conftest import FreshCluster

NOBODY_LISTENS = "postgresql://somebody@127.0.0.1:1/nothing"


@pytest.fixture(scope="module")
async def settings(fresh_cluster: FreshCluster) -> AsyncIterator[Settings]:
    async with fresh_cluster() as databases:
        yield Settings(
            shards=databases.shards,  # type: ignore[arg-type]
            catalog_dsn=databases.catalog,  # type: ignore[arg-type]
            read_model_dsn=databases.read_model,  # type: ignore[arg-type]
        )


@pytest.fixture(scope="module")
async def shop(settings: Settings) -> AsyncIterator[Shardwise]:
    async with await Shardwise.connect(settings=settings) as shop:
        yield shop


async def test_a_change_returns_the_account_as_it_is_then(shop: Shardwise) -> None:
    opened = await shop.accounts.open("api-ada", "USD", balance="25.00", overdraft="10.00")
    assert (opened.balance, opened.available, opened.state) == (Money(2500, "USD"), Money(3500, "USD"), "open")
    assert await shop.accounts.show("api-ada") == opened
    assert (await shop.accounts.freeze("api-ada")).state == "frozen"
    assert await shop.accounts.unfreeze("api-ada") == opened


async def test_a_repeat_under_the_same_id_returns_the_same_and_other_content_is_refused(shop: Shardwise) -> None:
    opened = await shop.accounts.open("api-bob", "USD", balance="1.00")
    assert await shop.accounts.open("api-bob", "USD", balance="1.00") == opened
    with pytest.raises(Refused) as refused:
        await shop.accounts.open("api-bob", "USD", balance="2.00")
    assert (refused.value.code, refused.value.field) == ("id_conflict", "account_id")


NOT_THERE: dict[str, Callable[[Shardwise], Awaitable[object]]] = {
    "unknown_account": lambda shop: shop.accounts.show("nobody"),
    "unknown_sku": lambda shop: shop.catalogue.stock("NOTHING"),
    "unknown_customer": lambda shop: shop.profiles.show("nobody"),
    "unknown_order": lambda shop: shop.queries.order_details("none"),
}


@pytest.mark.parametrize("code", NOT_THERE)
async def test_an_unknown_id_is_not_found(shop: Shardwise, code: str) -> None:
    with pytest.raises(NotFound) as missing:
        await NOT_THERE[code](shop)
    assert missing.value.code == code


INVALID: dict[str, Callable[[Shardwise], Awaitable[object]]] = {
    "customer": lambda shop: shop.orders.place("a b", [("TEAPOT", 1)]),
    "order_id": lambda shop: shop.orders.place("ada", [("TEAPOT", 1)], order_id=""),
    "lines.0.quantity": lambda shop: shop.orders.place("ada", [("TEAPOT", 0)]),
    "line": lambda shop: shop.orders.place("ada", [("TEAPOT", 1, "-1")], currency="USD"),
    "lines": lambda shop: shop.orders.place("ada", [], currency="USD"),
    "currency": lambda shop: shop.orders.place("ada", [("TEAPOT", 1)], currency="EURO"),
    "amount": lambda shop: shop.transfers.move("ada", "bob", "-14.00"),
    "target": lambda shop: shop.transfers.move("ada", "ada", "14.00", currency="USD"),
    "protocol": lambda shop: shop.transfers.move("ada", "bob", "14.00", protocol="3pc"),
    "limit": lambda shop: shop.queries.orders(limit=0),
    "after": lambda shop: shop.queries.stock(after="no token"),
    "until": lambda shop: shop.queries.orders(since="2026-01-02", until="2026-01-01", status=[OrderStatus.CONFIRMED]),
    "to": lambda shop: shop.queries.sales("2026-01-02", "2026-01-01"),
    "quantity": lambda shop: shop.catalogue.receive("TEAPOT", 0),
    "account_id": lambda shop: shop.accounts.show("a b"),
}


@pytest.mark.parametrize("field", INVALID)
async def test_bad_input_is_named_before_any_server_is_asked(shop: Shardwise, field: str) -> None:
    with pytest.raises(InvalidInput) as invalid:
        await INVALID[field](shop)
    assert invalid.value.field == field
    assert invalid.value.message.startswith(f"{field}: expected")


async def test_a_page_goes_on_where_the_one_before_ended(shop: Shardwise) -> None:
    page = await shop.queries.stock(limit=1)
    assert (page.stock, page.next) == ((), None)


async def test_a_server_that_is_away_stops_only_calls_that_need_it(settings: Settings) -> None:
    away = settings.model_copy(
        update={"shards": Settings(shards=dict.fromkeys(settings.shards, NOBODY_LISTENS)).shards}  # type: ignore[arg-type]
    )
    async with await Shardwise.connect(settings=away) as shop:
        assert (await shop.queries.stock()).stock == ()
        with pytest.raises(Unreachable) as unreachable:
            await shop.accounts.show("api-ada")
    assert unreachable.value.exit_code == 3
    assert isinstance(unreachable.value, ShardwiseError)


async def test_a_closed_application_refuses_every_call(settings: Settings) -> None:
    shop = await Shardwise.connect(settings=settings)
    await shop.catalogue.import_customers([])
    await shop.queries.stock()
    await shop.close()
    asked = (
        shop.queries.stock,
        shop.operations.events,
        lambda: shop.accounts.show("api-ada"),
        lambda: shop.orders.show("A"),
    )
    for ask in asked:
        with pytest.raises(ShardwiseError) as closed:
            await ask()
        assert closed.value.code == "closed"


GOOD = Customer("api-eve", "Eve", None, Money(100, "USD"))
BAD_CUSTOMERS: dict[str, list[Customer]] = {
    "customer_id": [replace(GOOD, customer_id="merchant.CHF")],
    "name": [replace(GOOD, name="  ")],
    "opening_balance": [replace(GOOD, opening_balance=Money(-1, "USD"))],
    "overdraft": [replace(GOOD, overdraft=Money(1, "EUR"))],
}


@pytest.mark.parametrize("field", BAD_CUSTOMERS)
async def test_an_import_by_a_program_obeys_the_rules_of_a_file(shop: Shardwise, field: str) -> None:
    with pytest.raises(InvalidInput) as invalid:
        await shop.catalogue.import_customers([GOOD, *BAD_CUSTOMERS[field]])
    assert invalid.value.field == field
    with pytest.raises(NotFound):
        await shop.accounts.show(GOOD.customer_id)


async def test_an_id_stands_for_one_customer_and_a_sku_for_one_product(shop: Shardwise) -> None:
    with pytest.raises(InvalidInput, match="api-eve with different content"):
        await shop.catalogue.import_customers([GOOD, GOOD, replace(GOOD, name="Eva")])
    for product in (Product("API", "x", Money(-1, "USD"), 1), Product("API", "x", Money(1, "USD"), 10**12)):
        with pytest.raises(InvalidInput):
            await shop.catalogue.import_products([product])


async def test_without_a_stack_nothing_is_connected(tmp_path: object) -> None:
    with pytest.raises(Unreachable):
        await Shardwise.connect(data_dir=str(tmp_path))
