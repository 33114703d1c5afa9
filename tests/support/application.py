"""The product on databases of its own, as its users use it: orders, transfers, `status`, `verify`, `recover`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.audit.audit import Audit
from shards.audit.sagas.gathering import gather
from shards.audit.sagas.judgement import judge
from shards.audit.workflows import Work
from shards.monitoring.event_lag import events_document
from shards.reading.shard_reads import ReadSettings, ShardReads
from shardwise.connections import Connections
from shardwise.operations.rebuild import ReadModelRebuilds
from shardwise.operations.recovery import Recovery
from shardwise.orders.service import Orders
from shardwise.reading import Reading
from shardwise.temporal.states import TemporalWorkflowStates
from shardwise.transfers.service import Transfers
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.support.opened import OpenedWith
from tests.support.world import World
from workers.lasting.keeping import kept_running
from workers.lasting.relays import relays
from workers.run import HOSTED, polling
from workflows.read_model_rebuild import Phase, Rebuild

SECONDS_MAX = 40.0
SETTINGS = Settings(stuck_after_seconds=5)


@dataclass
class RunningApplication:
    world: World
    client: Client

    @property
    def connections(self) -> Connections:
        async def client() -> Client:
            return self.client

        reads = ShardReads(self.world.router, ReadSettings())
        return Connections(self.world.cluster, self.world.router, reads, client)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """With a worker and the relays."""
        cluster = self.world.cluster
        lasting = relays(self.client, cluster.primaries)
        async with polling(self.client, cluster, SETTINGS, list(HOSTED)), kept_running(lasting):
            yield

    @property
    def opened(self) -> OpenedWith:
        return OpenedWith(self.connections, SETTINGS)

    async def place(self, order: Order) -> OrderStatus:
        return (await Orders(self.opened, Reading(self.opened)).place_order(order, SECONDS_MAX)).status

    async def send(self, transfer: Transfer, protocol: ProtocolChoice) -> TransferStatus:
        return (await Transfers(self.opened, Reading(self.opened)).move_as(transfer, protocol, SECONDS_MAX)).status

    async def alarms(self) -> list[str]:
        return (await events_document(self.world.cluster, 60)).alarms

    async def has_caught_up(self) -> bool:
        shards = (await events_document(self.world.cluster, 60)).shards
        return not any(each.events for shard in shards for each in shard.consumers if not each.history_lost)

    async def have_ended(self, orders: Sequence[Order]) -> bool:
        """Nothing is left to do for them, and no workflow runs: a choreographed order is confirmed before its last
        reactors have ended."""
        dossiers = (await gather(self.world.cluster, [order_saga_id(each.order_id) for each in orders])).values()
        if any(not dossier.is_known or judge(dossier) or dossier.is_unread for dossier in dossiers):
            return False
        states = TemporalWorkflowStates(self.client)
        ids = [workflow_id for dossier in dossiers for workflow_id in dossier.workflow_ids]
        return all([(await states.state_of(each)).work is not Work.OPEN for each in ids])

    async def damage(self) -> list[str]:
        audit = Audit(self.world.cluster, TemporalWorkflowStates(self.client), lambda *_: None)
        await audit.run()
        return [each.what for finding in audit.findings.by_check.values() for each in finding.violations]

    async def recover(self) -> set[str]:
        """Which orders it started again."""
        recovery = Recovery(self.connections, SETTINGS, lambda *_: None)
        found = await recovery.find()
        await recovery.start(found)
        return {each.order_id for each in found.orders}

    async def rebuild(self) -> None:
        rebuilds = ReadModelRebuilds(self.connections.temporal, self.world.cluster)
        rebuilt = await rebuilds.ended(await rebuilds.start(Rebuild()), lambda *_: None, SECONDS_MAX)
        assert rebuilt is not None
        assert rebuilt.phase is Phase.SWITCHED
        assert {each.next.wrong for each in rebuilt.compared.values()} == {0}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async for _ in attempts(SECONDS_MAX):
        if await holds():
            return
    raise AssertionError("it did not come to that")
