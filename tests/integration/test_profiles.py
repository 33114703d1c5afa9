"""Profiles of customers: in one row of one shard, changed at once, published once, and followed by the read model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from domain.catalogue import Customer
from domain.errors import InvalidInput, Refused, StaleRoute, Unreachable
from domain.limits import SETTINGS_MAX
from domain.money import Money
from domain.profiles import OptionalField, profile_change
from shards.catalogue.imports import Imported, import_customers
from shards.catalogue.opening import open_account
from shards.catalogue.profiles import ChangedProfile, change_profile, read_profile
from tests.support.projecting import project, read
from tests.support.world import World

HUNDRED = Money(10_000, "USD")
COLUMNS = "name, email, address, city, postal_code, country, CAST(settings AS text), version"


async def registered(world: World, email: str | None = "ada@example.org") -> Customer:
    customer = Customer(await world.new_name(), "Ada", email, HUNDRED)
    await import_customers(world.router, [customer])
    return customer


async def change(
    world: World,
    customer_id: str,
    settings: dict[str, str | None] | None = None,
    clear: tuple[OptionalField, ...] = (),
    **fields: str,
) -> ChangedProfile:
    return await change_profile(world.router, customer_id, profile_change(fields, settings, clear))


async def row(world: World, customer_id: str) -> tuple[Any, ...]:
    [found] = await world.everywhere(f"SELECT {COLUMNS} FROM customer WHERE id = :id", id=customer_id)
    return found


async def events(world: World, customer_id: str) -> list[tuple[Any, ...]]:
    return await world.everywhere(
        """SELECT kind, aggregate_version, payload FROM outbox
           WHERE aggregate = 'customer' AND aggregate_id = :id ORDER BY id OFFSET 1""",
        id=customer_id,
    )


async def test_all_that_is_given_is_changed_at_once_on_the_customers_shard(world: World) -> None:
    ada = await registered(world)
    shard = (await world.customer_route(ada.customer_id)).shard
    place = {"address": "12 St James's Square", "city": "London", "postal_code": "SW1Y 4LB", "country": "GB"}
    changed = await change(world, ada.customer_id, {"theme": "dark", "a.b": ""}, name="Ada King", **place)
    assert (changed.name, changed.email, changed.shard) == ("Ada King", ada.email, shard)
    assert (changed.version, changed.changed) == (2, True)
    assert list(changed.settings.items()) == [("a.b", ""), ("theme", "dark")]
    assert await row(world, ada.customer_id) == (
        *("Ada King", ada.email, *place.values()),
        *('{"a.b": "", "theme": "dark"}', 2),
    )
    payload = {"name": "Ada King", **place, "settings": {"a.b": "", "theme": "dark"}}
    assert await events(world, ada.customer_id) == [("ProfileChanged", 2, payload)]
    shown = await read_profile(world.router, ada.customer_id)
    assert (shown.city, shown.settings, shown.version) == ("London", {"theme": "dark", "a.b": ""}, 2)
    assert await world.money_of(ada.customer_id) == (10_000, 0)


async def test_what_is_not_given_stays_and_what_it_has_already_publishes_nothing(world: World) -> None:
    ada = await registered(world)
    for again in ({}, {"name": ada.name}, {"name": ada.name, "email": str(ada.email)}):
        unchanged = await change(world, ada.customer_id, {"never": None}, (OptionalField.CITY,), **again)
        assert (unchanged.changed, unchanged.version, unchanged.email) == (False, 1, ada.email)
    assert (await row(world, ada.customer_id))[-1] == 1
    assert await events(world, ada.customer_id) == []


async def test_a_change_is_undone_by_setting_it_back(world: World) -> None:
    ada = await registered(world, email=None)
    before = (await row(world, ada.customer_id))[:-1]
    await change(world, ada.customer_id, {"theme": "dark"}, email="ada@example.org", city="London")
    back = await change(world, ada.customer_id, {"theme": None}, (OptionalField.EMAIL, OptionalField.CITY))
    assert back.changed
    assert await row(world, ada.customer_id) == (*before, 3)
    removed = {"email": None, "city": None, "settings": {"theme": None}}
    assert (await events(world, ada.customer_id))[-1] == ("ProfileChanged", 3, removed)


async def test_settings_that_would_be_too_many_change_nothing(world: World) -> None:
    ada = await registered(world)
    full = {f"s{n}": "x" for n in range(SETTINGS_MAX)}
    assert (await change(world, ada.customer_id, full)).version == 2
    for too_much in ({"one.more": "x"}, {f"s{n}": "x" * 500 for n in range(20)}):
        with pytest.raises(InvalidInput, match="settings: expected at most") as refused:
            await change(world, ada.customer_id, too_much, name="Ada King")
        assert refused.value.field == "settings"
    assert (await change(world, ada.customer_id, {"one.more": "x", "s0": None})).version == 3
    assert (await row(world, ada.customer_id))[0] == "Ada"


async def test_a_customer_that_does_not_exist_has_no_profile(world: World) -> None:
    for nobody in ("nobody", "merchant.USD"):
        with pytest.raises(Refused, match=f"no customer {nobody}") as refused:
            await change(world, nobody, name="Ada")
        assert (refused.value.code, refused.value.field) == ("unknown_customer", "customer_id")
        with pytest.raises(Refused, match=f"no customer {nobody}"):
            await read_profile(world.router, nobody)


async def test_an_import_goes_on_comparing_with_what_was_imported_first(world: World) -> None:
    ada = await registered(world)
    await change(world, ada.customer_id, {"theme": "dark"}, name="Ada King", email="king@example.org")
    before = await row(world, ada.customer_id)
    # The file as it was is the same file still, and does not take the name back.
    assert await import_customers(world.router, [ada]) == Imported(total=1, imported=0, unchanged=1)
    assert (await open_account(world.router, ada)).balance == HUNDRED
    # One with the new name in it is another file, as before any change.
    with pytest.raises(Refused, match="imported before with other content"):
        await import_customers(world.router, [Customer(ada.customer_id, "Ada King", "king@example.org", HUNDRED)])
    assert await row(world, ada.customer_id) == before


async def test_changes_at_once_take_turns_and_none_is_lost(world: World) -> None:
    ada = await registered(world)
    changed = await asyncio.gather(*(change(world, ada.customer_id, {f"s{n}": str(n)}) for n in range(8)))
    assert sorted(each.version for each in changed) == list(range(2, 10))
    assert (await read_profile(world.router, ada.customer_id)).settings == {f"s{n}": str(n) for n in range(8)}
    published = {version: payload["settings"] for _, version, payload in await events(world, ada.customer_id)}
    assert sorted(published) == list(range(2, 10))
    assert {name: text for each in published.values() for name, text in each.items()} == changed_last(changed).settings


def changed_last(changed: list[ChangedProfile]) -> ChangedProfile:
    return max(changed, key=lambda each: each.version)


async def test_a_shard_that_does_not_own_the_customer_changes_nothing(world: World) -> None:
    ada = await registered(world)
    route = await world.customer_route(ada.customer_id)
    fence = "UPDATE ownership SET state = :state WHERE keyspace = 'bucket' AND slot = :slot"
    await world.rows(route.shard, fence, state="fenced", slot=route.slot)
    too_many: dict[str, str | None] = {f"s{n}": "x" for n in range(SETTINGS_MAX + 1)}
    try:
        for settings in ({"theme": "dark"}, too_many):
            with pytest.raises(StaleRoute):
                await change(world, ada.customer_id, dict(settings))
    finally:
        await world.rows(route.shard, fence, state="owned", slot=route.slot)
    assert (await row(world, ada.customer_id))[-1] == 1
    assert await events(world, ada.customer_id) == []


async def test_a_change_waits_for_no_order_and_only_so_long_for_a_lock(world: World) -> None:
    ada = await registered(world)
    route = await world.customer_route(ada.customer_id)
    async with world.cluster.primaries[route.shard].transaction() as other:
        # What an order's insert does to the row that it refers to.
        await other.execute(text("SELECT FROM customer WHERE id = :id FOR KEY SHARE"), {"id": ada.customer_id})
        assert (await change(world, ada.customer_id, name="Ada King")).changed
    async with world.cluster.primaries[route.shard].transaction() as other:
        await other.execute(text("SELECT FROM customer WHERE id = :id FOR UPDATE"), {"id": ada.customer_id})
        with pytest.raises(Unreachable, match="was not changed") as busy:
            await change(world, ada.customer_id, name="Ada Byron")
        assert busy.value.code == "customer_busy"
    assert (await row(world, ada.customer_id))[0] == "Ada King"


async def test_the_read_model_follows_every_part_of_it(world: World) -> None:
    ada = await registered(world)
    found = f"SELECT {COLUMNS} FROM live.customer WHERE id = :id"
    await project(world)
    assert await read(world, found, id=ada.customer_id) == [await row(world, ada.customer_id)]
    await change(world, ada.customer_id, {"theme": "dark"}, name="Ada King", city="London", country="GB")
    await change(world, ada.customer_id, {"lang": "en"}, (OptionalField.EMAIL,), postal_code="SW1Y", address="12")
    await project(world)
    assert await read(world, found, id=ada.customer_id) == [await row(world, ada.customer_id)]
