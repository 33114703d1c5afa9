"""What becomes of orders and transfers whose shard was restored to before them: nothing waits for ever, and what is
placed again ends as it did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from temporalio.client import Client

from cli.audit import Audit
from cli.connections import Connections
from cli.order_desk import OrderDesk
from cli.projection_lag import events_document
from cli.read_model_rebuild import ReadModelRebuilds
from cli.recovery import Recovery
from cli.transfer_desk import TransferDesk
from cli.workflow_states import TemporalWorkflowStates
from domain.orders import Order, OrderStatus, Style
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.support.restorable import SHARD, RestorableWorld, restorable_world
from tests.support.temporal import scratch_temporal
from tests.support.world import World
from workers.relays import keep_relays
from workers.run import HOSTED, polling
from workflows.read_model_rebuild import Phase, Rebuild

SECONDS_MAX = 40.0
SETTINGS = Settings(stuck_after_seconds=5)

pytestmark = pytest.mark.timeout(300)


@dataclass
class Office:
    """The product on a restorable world, by what its users have: `order`, `transfer`, `status`, `verify`, `recover`."""

    town: RestorableWorld
    client: Client

    @property
    def connections(self) -> Connections:
        async def client() -> Client:
            return self.client

        return Connections(self.town.world.cluster, self.town.world.router, client)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """With a worker and the relays."""
        cluster = self.town.world.cluster
        async with polling(self.client, cluster, SETTINGS, list(HOSTED)):
            relays = asyncio.create_task(keep_relays(self.client, cluster.shards))
            try:
                yield
            finally:
                relays.cancel()
                await asyncio.gather(relays, return_exceptions=True)

    async def place(self, order: Order) -> OrderStatus:
        return (await OrderDesk(self.connections, SETTINGS).place(order, SECONDS_MAX)).status

    async def send(self, transfer: Transfer, protocol: ProtocolChoice) -> TransferStatus:
        return (await TransferDesk(self.connections, SETTINGS).place(transfer, protocol, SECONDS_MAX)).status

    async def alarms(self) -> list[str]:
        return (await events_document(self.town.world.cluster, 60)).alarms

    async def has_caught_up(self) -> bool:
        shards = (await events_document(self.town.world.cluster, 60)).shards
        return not any(each.events for shard in shards for each in shard.consumers if not each.history_lost)

    async def damage(self) -> list[str]:
        audit = Audit(self.town.world.cluster, TemporalWorkflowStates(self.client), lambda *_: None)
        await audit.run()
        return [each.what for finding in audit.findings.by_check.values() for each in finding.violations]

    async def recover(self) -> set[str]:
        """Which orders it started again."""
        recovery = Recovery(self.connections, SETTINGS, lambda *_: None)
        found = await recovery.find()
        await recovery.start(found)
        return {each.order_id for each in found.orders}

    async def rebuild(self) -> None:
        rebuilds = ReadModelRebuilds(self.connections.temporal, self.town.world.cluster)
        rebuilt = await rebuilds.ended(await rebuilds.start(Rebuild()), lambda *_: None, SECONDS_MAX)
        assert rebuilt is not None
        assert rebuilt.phase is Phase.SWITCHED
        assert {each.next.wrong for each in rebuilt.compared.values()} == {0}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async for _ in attempts(SECONDS_MAX):
        if await holds():
            return
    raise AssertionError("it did not come to that")


@pytest.fixture
async def office(postgres_server: str, migrated_templates: Mapping[str, str], tmp_path: Path) -> AsyncIterator[Office]:
    for name in ("postgres", "temporal"):
        (tmp_path / name).mkdir()
    async with (
        restorable_world(postgres_server, migrated_templates, tmp_path / "postgres") as town,
        scratch_temporal(tmp_path / "temporal") as client,
    ):
        yield Office(town, client)


async def orders_of(world: World, customer: str) -> list[Order]:
    """Each style over stock of two shards."""
    goods = {await world.product(near): 1 for near in "az"}
    return [replace(world.order(customer, goods), style=style) for style in Style]


async def transfers_of(world: World, customer: str) -> list[tuple[Transfer, ProtocolChoice]]:
    """From its shard to another by each protocol, from another to it, and within it."""
    near, far = await world.customer(shard=SHARD), await world.customer(shard="shard-1")
    routes = [(customer, far, p) for p in (ProtocolChoice.SAGA, ProtocolChoice.TWO_PHASE)]
    routes += [(far, customer, ProtocolChoice.SAGA), (customer, near, ProtocolChoice.AUTO)]
    return [((await world.transfer(source, target, "1.00")).transfer, p) for source, target, p in routes]


async def test_what_is_placed_again_ends_as_it_did_and_nothing_waits(office: Office) -> None:
    world = office.town.world
    customer = await world.customer(shard=SHARD)
    gone_orders, gone_transfers = await orders_of(world, customer), await transfers_of(world, customer)
    kept, new = await orders_of(world, customer), await orders_of(world, customer)
    async with office.at_work():
        assert [await office.place(each) for each in kept] == [OrderStatus.CONFIRMED] * 2
    await office.town.server.keep_copy()
    await office.town.reopened()
    async with office.at_work():
        assert [await office.place(each) for each in gone_orders] == [OrderStatus.CONFIRMED] * 2
        assert [await office.send(*each) for each in gone_transfers] == [TransferStatus.SETTLED] * 4
        await until(office.has_caught_up)
        assert await office.alarms() == []
        assert await office.damage() == []
    await office.town.server.go_back_to_copy()
    await office.town.reopened()

    async with office.at_work():
        assert [await office.place(each) for each in new] == [OrderStatus.CONFIRMED] * 2
        [alarm] = await office.alarms()
        assert f"{SHARD} and the read model are of different histories" in alarm
        told = " ".join(await office.damage())
        for saga_id in (*(f"order {each.order_id}" for each in gone_orders), *(t.saga_id for t, _ in gone_transfers)):
            assert saga_id.replace("transfer/", "transfer ", 1) in told or saga_id in told
        assert [await office.place(each) for each in gone_orders] == [OrderStatus.CONFIRMED] * 2
        assert [await office.send(*each) for each in gone_transfers] == [TransferStatus.SETTLED] * 4
        await office.rebuild()
        await until(office.has_caught_up)
        assert await office.damage() == []
        assert await office.recover() == set()


async def test_recover_carries_out_again_what_other_shards_know_of(office: Office) -> None:
    world = office.town.world
    customer = await world.customer(shard=SHARD)
    await office.town.server.keep_copy()
    await office.town.reopened()
    orders = await orders_of(world, customer)
    transfers = [each for each in await transfers_of(world, customer) if each[0].source == customer][:2]
    async with office.at_work():
        assert [await office.place(each) for each in orders] == [OrderStatus.CONFIRMED] * 2
        assert [await office.send(*each) for each in transfers] == [TransferStatus.SETTLED] * 2
    await office.town.server.go_back_to_copy()
    await office.town.reopened()
    async with office.at_work():
        assert await office.recover() == {each.order_id for each in orders}

        async def has_recovered() -> bool:
            return not [what for what in await office.damage() if "read model" not in what]

        await until(has_recovered)
        assert [await office.place(each) for each in orders] == [OrderStatus.CONFIRMED] * 2
        assert [await office.send(*each) for each in transfers] == [TransferStatus.SETTLED] * 2
