"""Products under another name: on their own shard, published once, and still the same for an import. The names of
customers are part of their profiles: test_profiles.py."""

from __future__ import annotations

from typing import Any

import pytest

from domain.catalogue import Product
from domain.errors import Refused
from domain.money import Money
from shards.catalogue.imports import Imported, import_products
from shards.catalogue.renames import NamedProduct, rename_product
from tests.support.world import World


async def listed(world: World) -> Product:
    sku = await world.product()
    return Product(sku, sku, Money(100, "USD"), 10)


async def row(world: World, sku: str) -> tuple[Any, ...]:
    [found] = await world.everywhere("SELECT name, version FROM product WHERE sku = :sku", sku=sku)
    return found


async def events(world: World, sku: str) -> list[tuple[Any, ...]]:
    return await world.everywhere(
        """SELECT kind, aggregate_version, payload FROM outbox
           WHERE aggregate = 'product' AND aggregate_id = :sku ORDER BY id OFFSET 1""",
        sku=sku,
    )


async def test_a_product_is_renamed_on_its_own_shard(world: World) -> None:
    tea = await listed(world)
    shard = (await world.router.map()).of_sku(tea.sku).shard
    assert await rename_product(world.router, tea.sku, "Tea") == NamedProduct(tea.sku, "Tea", 2, shard, True)
    assert await row(world, tea.sku) == ("Tea", 2)
    assert await events(world, tea.sku) == [("ProductRenamed", 2, {"name": "Tea"})]


async def test_the_name_it_has_already_changes_and_publishes_nothing(world: World) -> None:
    tea = await listed(world)
    assert not (await rename_product(world.router, tea.sku, tea.name)).changed
    assert (await row(world, tea.sku))[1] == 1
    assert await events(world, tea.sku) == []


async def test_a_product_that_does_not_exist_is_not_renamed(world: World) -> None:
    with pytest.raises(Refused) as refused:
        await rename_product(world.router, "nothing", "Tea")
    assert (refused.value.code, refused.value.field) == ("unknown_sku", "sku")


async def test_an_import_goes_on_comparing_with_what_was_imported_first(world: World) -> None:
    tea = await listed(world)
    await rename_product(world.router, tea.sku, "Tea")
    before = await row(world, tea.sku)
    # The file as it was is the same file still, and does not take the name back.
    assert await import_products(world.router, [tea]) == Imported(total=1, imported=0, unchanged=1)
    # One with the new name in it is another file, as before any rename.
    with pytest.raises(Refused, match="imported before with other content"):
        await import_products(world.router, [Product(tea.sku, "Tea", tea.unit_price, tea.stock)])
    assert await row(world, tea.sku) == before
