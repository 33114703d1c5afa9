"""A withdrawn currency: nothing new is opened in it, and everything that exists goes on.

What was there before is made with the table as it was then.
"""

from __future__ import annotations

import pytest

from domain import currencies
from domain.catalogue import Customer, Product
from domain.errors import Refused
from domain.money import Money
from domain.sagas import Decision, Reason, SagaOutcome
from shards.accounts.states import change_account, close, freeze, unfreeze
from shards.catalogue.imports import Imported, import_customers, import_products
from shards.catalogue.opening import open_account
from tests.support.world import World


def someone(account_id: str, currency: str = "BGN") -> Customer:
    return Customer(account_id, account_id, None, Money(10000, currency))


@pytest.fixture
async def before(world: World, monkeypatch: pytest.MonkeyPatch) -> list[Customer]:
    """Accounts opened before the withdrawal, on two shards."""
    people = [someone(await world.new_name(shard)) for shard in ("shard-1", "shard-2")]
    with monkeypatch.context() as then:
        then.delitem(currencies.WITHDRAWN, "BGN")
        await import_customers(world.router, people)
    return people


@pytest.fixture
async def goods(world: World, monkeypatch: pytest.MonkeyPatch) -> Product:
    """A product that was for sale before."""
    with monkeypatch.context() as then:
        then.delitem(currencies.WITHDRAWN, "BGN")
        sku = await world.product(currency="BGN")
    return Product(sku, sku, Money(100, "BGN"), 10)


async def test_no_account_is_opened_in_it_and_none_beside_it_in_the_file(world: World) -> None:
    lev, euro = await world.new_name(), await world.new_name()
    with pytest.raises(Refused, match=f"BGN was withdrawn on 2026-01-01: .*, nothing was changed: {lev}") as refused:
        await import_customers(world.router, [someone(lev), someone(euro, "EUR")])
    assert (refused.value.code, refused.value.field) == ("currency_withdrawn", "customer_id")
    with pytest.raises(Refused, match="BGN was withdrawn") as refused:
        await open_account(world.router, someone(lev))
    assert (refused.value.code, refused.value.field) == ("currency_withdrawn", "account_id")
    assert await world.everywhere("SELECT id FROM account WHERE id = ANY(:ids)", ids=[lev, euro]) == []


async def test_no_product_is_listed_in_it(world: World) -> None:
    with pytest.raises(Refused, match="BGN was withdrawn") as refused:
        await import_products(world.router, [Product("a-lev", "Lev", Money(1, "BGN"), 1)])
    assert (refused.value.code, refused.value.field) == ("currency_withdrawn", "sku")
    assert await world.everywhere("SELECT sku FROM product WHERE sku = 'a-lev'") == []


async def test_old_files_are_safe_to_repeat(world: World, before: list[Customer], goods: Product) -> None:
    euro = someone(await world.new_name(), "EUR")
    assert await import_customers(world.router, [*before, euro]) == Imported(total=3, imported=1, unchanged=2)
    assert await import_products(world.router, [goods]) == Imported(total=1, imported=0, unchanged=1)
    assert (await open_account(world.router, before[0])).balance == Money(10000, "BGN")


async def test_money_of_existing_accounts_is_moved_and_paid_out(world: World, before: list[Customer]) -> None:
    source, target = (each.customer_id for each in before)
    transfer = await world.transfer(source, target, "100.00", "BGN")
    assert (await transfer.open()).refusal is None
    assert await transfer.admit() is None
    assert (await transfer.decide()).is_confirmed
    await transfer.credit()
    assert [await world.money_of(each) for each in (source, target)] == [(0, 0), (20000, 0)]
    for step in (freeze, unfreeze, close):
        await change_account(world.router, source, step)
    assert await world.violations() == []


@pytest.mark.parametrize("choreographed", [False, True])
async def test_no_order_is_opened_in_it(
    world: World, before: list[Customer], goods: Product, choreographed: bool
) -> None:
    order = world.order(before[0].customer_id, {goods.sku: 1}, currency="BGN")
    if choreographed:
        by_hand = await world.choreographed(order)
        refused = await by_hand.place()
        assert await by_hand.place() == refused
    else:
        saga = await world.saga(order)
        refused = await saga.open()
        assert await saga.open() == refused
    assert refused is not None
    assert refused.reason is Reason.CURRENCY_WITHDRAWN
    assert await world.state_of(order) is None
    assert await world.money_of(order.customer_id) == (10000, 0)


@pytest.mark.parametrize("choreographed", [False, True])
async def test_an_order_opened_before_comes_to_its_end(
    world: World, before: list[Customer], goods: Product, choreographed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = world.order(before[0].customer_id, {goods.sku: 1}, currency="BGN")
    with monkeypatch.context() as then:
        then.delitem(currencies.WITHDRAWN, "BGN")
        if choreographed:
            saga = by_hand = await world.choreographed(order)
            assert await by_hand.place() is None
        else:
            saga = await world.saga(order)
            assert await saga.open() is None
    if choreographed:
        assert await by_hand.place() is None
        assert await by_hand.join_stock() is None
        assert await by_hand.hold() is None
    else:
        assert await saga.open() is None
    assert await saga.reserve(0) is None
    assert await saga.decide() == Decision(SagaOutcome.CONFIRMED, None, Money(100, "BGN"))
    await saga.consume(0)
    await saga.credit()
    assert await world.money_of(order.customer_id) == (9900, 0)
