"""Customers and products under another name: on their own shard, published once, and still the same for an import."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from domain.catalogue import Customer, Product
from domain.errors import Refused, StaleRoute, Unreachable
from domain.money import Money
from shards.catalogue.imports import Imported, import_customers, import_products
from shards.catalogue.opening import open_account
from shards.catalogue.renames import NamedCustomer, NamedProduct, rename_customer, rename_product
from tests.support.world import World

HUNDRED = Money(10_000, "USD")


async def registered(world: World, email: str | None = "ada@example.org") -> Customer:
    customer = Customer(await world.new_name(), "Ada", email, HUNDRED)
    await import_customers(world.router, [customer])
    return customer


async def listed(world: World) -> Product:
    sku = await world.product()
    return Product(sku, sku, Money(100, "USD"), 10)


async def customer_row(world: World, customer_id: str) -> tuple[Any, ...]:
    [row] = await world.everywhere("SELECT name, email, version FROM customer WHERE id = :id", id=customer_id)
    return row


async def product_row(world: World, sku: str) -> tuple[Any, ...]:
    [row] = await world.everywhere("SELECT name, version FROM product WHERE sku = :sku", sku=sku)
    return row


async def events(world: World, aggregate: str, aggregate_id: str) -> list[tuple[Any, ...]]:
    return await world.everywhere(
        """SELECT kind, aggregate_version, payload FROM outbox
           WHERE aggregate = :aggregate AND aggregate_id = :id ORDER BY id OFFSET 1""",
        aggregate=aggregate,
        id=aggregate_id,
    )


async def test_a_customer_is_renamed_on_its_own_shard(world: World) -> None:
    ada = await registered(world)
    shard = (await world.customer_route(ada.customer_id)).shard
    renamed = await rename_customer(world.router, ada.customer_id, "Ada King")
    assert renamed == NamedCustomer(ada.customer_id, "Ada King", ada.email, 2, shard, True)
    assert await customer_row(world, ada.customer_id) == ("Ada King", ada.email, 2)
    payload = {"name": "Ada King", "email": ada.email}
    assert await events(world, "customer", ada.customer_id) == [("CustomerRenamed", 2, payload)]
    assert await world.money_of(ada.customer_id) == (10_000, 0)


async def test_a_product_is_renamed_on_its_own_shard(world: World) -> None:
    tea = await listed(world)
    shard = (await world.router.map()).of_sku(tea.sku).shard
    assert await rename_product(world.router, tea.sku, "Tea") == NamedProduct(tea.sku, "Tea", 2, shard, True)
    assert await product_row(world, tea.sku) == ("Tea", 2)
    assert await events(world, "product", tea.sku) == [("ProductRenamed", 2, {"name": "Tea"})]


async def test_the_name_it_has_already_changes_and_publishes_nothing(world: World) -> None:
    ada, tea = await registered(world), await listed(world)
    for email in (None, ada.email):
        unchanged = await rename_customer(world.router, ada.customer_id, ada.name, email)
        assert (unchanged.changed, unchanged.version) == (False, 1)
    assert not (await rename_product(world.router, tea.sku, tea.name)).changed
    assert (await customer_row(world, ada.customer_id))[2] == (await product_row(world, tea.sku))[1] == 1
    assert await events(world, "customer", ada.customer_id) == await events(world, "product", tea.sku) == []


async def test_an_email_changes_only_if_it_is_given(world: World) -> None:
    ada = await registered(world, email=None)
    assert (await rename_customer(world.router, ada.customer_id, "Ada", "ada@example.org")).changed
    assert (await rename_customer(world.router, ada.customer_id, "Ada King")).email == "ada@example.org"
    assert await events(world, "customer", ada.customer_id) == [
        ("CustomerRenamed", 2, {"name": "Ada", "email": "ada@example.org"}),
        ("CustomerRenamed", 3, {"name": "Ada King", "email": "ada@example.org"}),
    ]


async def test_a_customer_or_product_that_does_not_exist_is_not_renamed(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await rename_customer(world.router, "nobody", "Ada")
    assert (refused.value.code, refused.value.field) == ("unknown_customer", "customer_id")
    with pytest.raises(Refused) as refused:
        await rename_product(world.router, "nothing", "Tea")
    assert (refused.value.code, refused.value.field) == ("unknown_sku", "sku")


async def test_a_merchant_is_no_customer(world: World) -> None:
    with pytest.raises(Refused, match=r"no customer merchant\.USD"):
        await rename_customer(world.router, "merchant.USD", "Ada")


async def test_an_import_goes_on_comparing_with_what_was_imported_first(world: World) -> None:
    ada, tea = await registered(world), await listed(world)
    await rename_customer(world.router, ada.customer_id, "Ada King", "king@example.org")
    await rename_product(world.router, tea.sku, "Tea")
    before = await customer_row(world, ada.customer_id), await product_row(world, tea.sku)

    # The file as it was is the same file still, and does not take the name back.
    assert await import_customers(world.router, [ada]) == Imported(total=1, imported=0, unchanged=1)
    assert await import_products(world.router, [tea]) == Imported(total=1, imported=0, unchanged=1)
    assert (await open_account(world.router, ada)).balance == HUNDRED
    # One with the new name in it is another file, as before any rename.
    with pytest.raises(Refused, match="imported before with other content"):
        await import_customers(world.router, [Customer(ada.customer_id, "Ada King", "king@example.org", HUNDRED)])
    with pytest.raises(Refused, match="imported before with other content"):
        await import_products(world.router, [Product(tea.sku, "Tea", tea.unit_price, tea.stock)])
    assert (await customer_row(world, ada.customer_id), await product_row(world, tea.sku)) == before


async def test_renames_at_once_take_turns_and_each_is_published(world: World) -> None:
    ada = await registered(world)
    names = [f"Ada {number}" for number in range(8)]
    renamed = await asyncio.gather(*(rename_customer(world.router, ada.customer_id, name) for name in names))
    versions = {each.version: each.name for each in renamed}
    assert sorted(versions) == list(range(2, 10))
    assert await customer_row(world, ada.customer_id) == (versions[9], ada.email, 9)
    published = {version: payload["name"] for _, version, payload in await events(world, "customer", ada.customer_id)}
    assert published == versions


async def test_a_shard_that_does_not_own_the_customer_changes_nothing(world: World) -> None:
    ada = await registered(world)
    route = await world.customer_route(ada.customer_id)
    fence = "UPDATE ownership SET state = :state WHERE keyspace = 'bucket' AND slot = :slot"
    await world.rows(route.shard, fence, state="fenced", slot=route.slot)
    try:
        with pytest.raises(StaleRoute):
            await rename_customer(world.router, ada.customer_id, "Ada King")
    finally:
        await world.rows(route.shard, fence, state="owned", slot=route.slot)
    assert await customer_row(world, ada.customer_id) == ("Ada", ada.email, 1)
    assert await events(world, "customer", ada.customer_id) == []


async def test_a_rename_waits_for_no_order_and_only_so_long_for_a_lock(world: World) -> None:
    ada = await registered(world)
    route = await world.customer_route(ada.customer_id)
    async with world.cluster.primaries[route.shard].transaction() as other:
        # What an order's insert does to the row that it refers to.
        await other.execute(text("SELECT FROM customer WHERE id = :id FOR KEY SHARE"), {"id": ada.customer_id})
        assert (await rename_customer(world.router, ada.customer_id, "Ada King")).changed
    async with world.cluster.primaries[route.shard].transaction() as other:
        await other.execute(text("SELECT FROM customer WHERE id = :id FOR UPDATE"), {"id": ada.customer_id})
        with pytest.raises(Unreachable, match="was not renamed") as busy:
            await rename_customer(world.router, ada.customer_id, "Ada Byron")
        assert busy.value.code == "customer_busy"
    assert await customer_row(world, ada.customer_id) == ("Ada King", ada.email, 2)
