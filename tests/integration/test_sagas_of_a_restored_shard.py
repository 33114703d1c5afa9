"""Orders and transfers whose shard was restored to before them: nothing waits for ever, and what is
placed again ends as it did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace

import pytest

from domain.orders import Order, OrderStatus, Style
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shardwise.orders.service import Orders
from shardwise.reading import Reading
from tests.conftest import FreshNamespace
from tests.support.application import SECONDS_MAX, SETTINGS, RunningApplication, until
from tests.support.opened import OpenedWith
from tests.support.restorable import SHARD, RestorableWorld, restorable_world
from tests.support.restoring import RestoredServer
from tests.support.world import World

pytestmark = pytest.mark.timeout(300)


@dataclass
class RestorableApplication(RunningApplication):
    """On a world whose one shard can be set back."""

    restored: RestorableWorld

    async def reopened(self) -> None:
        self.world = await self.restored.reopened()

    async def has_recovered(self) -> bool:
        """The shards agree; the read model waits for a rebuild."""
        return not [what for what in await self.damage() if "read model" not in what]


@pytest.fixture
async def application(
    postgres_server: str,
    migrated_templates: Mapping[str, str],
    restored_server: RestoredServer,
    fresh_namespace: FreshNamespace,
) -> AsyncIterator[RestorableApplication]:
    async with restorable_world(postgres_server, migrated_templates, restored_server) as restored:
        yield RestorableApplication(restored.world, await fresh_namespace(), restored)


async def orders_of(world: World, customer: str) -> list[Order]:
    """An order of each style over stock of two shards."""
    goods = {await world.product(near): 1 for near in "az"}
    return [replace(world.order(customer, goods), style=style) for style in Style]


async def transfers_of(world: World, customer: str) -> list[tuple[Transfer, ProtocolChoice]]:
    """From its shard to another by each protocol, from another to it, and within it."""
    near, far = await world.customer(shard=SHARD), await world.customer(shard="shard-1")
    routes = [(customer, far, p) for p in (ProtocolChoice.SAGA, ProtocolChoice.TWO_PHASE)]
    routes += [(far, customer, ProtocolChoice.SAGA), (customer, near, ProtocolChoice.AUTO)]
    return [((await world.transfer(source, target, "1.00")).transfer, p) for source, target, p in routes]


async def test_sagas_placed_again_end_as_before_and_nothing_waits(application: RestorableApplication) -> None:
    world = application.world
    customer = await world.customer(shard=SHARD)
    gone_orders, gone_transfers = await orders_of(world, customer), await transfers_of(world, customer)
    kept, new = await orders_of(world, customer), await orders_of(world, customer)
    async with application.at_work():
        assert [await application.place(each) for each in kept] == [OrderStatus.CONFIRMED] * 2
    await application.restored.server.keep_copy()
    await application.reopened()
    async with application.at_work():
        assert [await application.place(each) for each in gone_orders] == [OrderStatus.CONFIRMED] * 2
        assert [await application.send(*each) for each in gone_transfers] == [TransferStatus.SETTLED] * 4
        await until(application.has_caught_up)
        assert await application.alarms() == []
        assert await application.damage() == []
    await application.restored.server.go_back_to_copy()
    await application.reopened()

    async with application.at_work():
        assert [await application.place(each) for each in new] == [OrderStatus.CONFIRMED] * 2
        [alarm] = await application.alarms()
        assert f"{SHARD} and the read model are of different histories" in alarm
        damage = " ".join(await application.damage())
        for saga_id in (*(f"order {each.order_id}" for each in gone_orders), *(t.saga_id for t, _ in gone_transfers)):
            assert saga_id.replace("transfer/", "transfer ", 1) in damage or saga_id in damage
        assert [await application.place(each) for each in gone_orders] == [OrderStatus.CONFIRMED] * 2
        assert [await application.send(*each) for each in gone_transfers] == [TransferStatus.SETTLED] * 4
        await application.rebuild()
        await until(application.has_caught_up)
        assert await application.damage() == []
        assert await application.recover() == set()


async def test_recover_carries_out_again_the_sagas_that_other_shards_know_of(
    application: RestorableApplication,
) -> None:
    customer = await application.world.customer(shard=SHARD)
    await application.restored.server.keep_copy()
    await application.reopened()
    world = application.world
    orders = await orders_of(world, customer)
    transfers = [each for each in await transfers_of(world, customer) if each[0].source == customer][:2]
    async with application.at_work():
        assert [await application.place(each) for each in orders] == [OrderStatus.CONFIRMED] * 2
        assert [await application.send(*each) for each in transfers] == [TransferStatus.SETTLED] * 2
        await until(lambda: application.have_ended(orders))
    await application.restored.server.go_back_to_copy()
    await application.reopened()
    async with application.at_work():
        assert await application.recover() == {each.order_id for each in orders}
        await until(application.has_recovered)
        assert [await application.place(each) for each in orders] == [OrderStatus.CONFIRMED] * 2
        assert [await application.send(*each) for each in transfers] == [TransferStatus.SETTLED] * 2


async def claimed_on(world: World, shard: str, order: Order) -> Order:
    """The order under an id whose claim is on this shard."""
    shard_map = await world.router.map()
    ids = (f"{order.order_id}-{number}" for number in range(1000))
    return replace(order, order_id=next(each for each in ids if shard_map.of_order_id(each).shard == shard))


async def test_an_id_whose_claim_is_gone_is_claimed_again_by_recover(application: RestorableApplication) -> None:
    """Of an order whose rows are on other shards: until then another order could be placed under it."""
    customer = await application.world.customer(shard="shard-1")
    await application.restored.server.keep_copy()
    await application.reopened()
    world = application.world
    orders = [await claimed_on(world, SHARD, each) for each in await orders_of(world, customer)]
    async with application.at_work():
        assert [await application.place(each) for each in orders] == [OrderStatus.CONFIRMED] * 2
        await until(lambda: application.have_ended(orders))
    await application.restored.server.go_back_to_copy()
    await application.reopened()
    async with application.at_work():
        assert await application.recover() == {each.order_id for each in orders}
        await until(application.has_recovered)
        assert [await application.place(each) for each in orders] == [OrderStatus.CONFIRMED] * 2


async def test_an_order_that_waited_in_its_window_gives_its_goods_back(application: RestorableApplication) -> None:
    """Its shard goes back to before it; its claim and the goods that it has reserved are on others."""
    customer = await application.world.customer(shard=SHARD)
    goods = [await application.world.product(near) for near in "az"]
    await application.restored.server.keep_copy()
    await application.reopened()
    world = application.world
    orders = [
        await claimed_on(world, "shard-1", replace(world.order(customer, dict.fromkeys(goods, 1)), style=style))
        for style in Style
    ]

    async def reserved() -> list[int]:
        return [(await application.world.goods_of(sku))[1] for sku in goods]

    async def wait_in_their_windows() -> bool:
        return (await world.money_of(customer))[1] == 400 and await reserved() == [2, 2]

    async with application.at_work():
        for each in orders:
            settings = SETTINGS.model_copy(update={"cancellation_window_seconds": 600.0})
            opened = OpenedWith(application.connections, settings)
            service = Orders(opened, Reading(opened))
            assert (await service.place_order(each, 0)).status is OrderStatus.PENDING
        await until(wait_in_their_windows)
    await application.restored.server.go_back_to_copy()
    await application.reopened()
    assert await reserved() == [2, 2]
    async with application.at_work():
        opened = OpenedWith(application.connections, SETTINGS)
        service = Orders(opened, Reading(opened))
        for each in orders:
            assert (await service.cancel(each.order_id, SECONDS_MAX)).status is OrderStatus.CANCELLED
        assert await application.recover() == {each.order_id for each in orders if each.style is Style.CHOREOGRAPHED}
        await until(application.has_recovered)
        assert await reserved() == [0, 0]
        assert await application.recover() == set()
