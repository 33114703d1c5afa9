"""Runs any part of the matrix at once on three real shards and a real Temporal server, and judges it at rest.

place each ─▶ each under its fault ─▶ all have ended ─▶ recover the terminated ones ─▶ `verify`, and each
                                                                 until none is left           order's own rows
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client

from domain.choreography import Service
from domain.identifiers import order_saga_id
from shards.audit.audit import Audit
from shards.connections.cluster import Cluster
from shards.reading.shard_reads import ReadSettings, ShardReads
from shardwise.connections import Connections
from shardwise.operations.recovery import Recovery
from shardwise.temporal.states import TemporalWorkflowStates
from stack.settings import Databases, Settings
from tests.faults import order_cases, transfer_cases
from tests.faults.cases import Case
from tests.faults.deaths import Surroundings, batched_by_death, live_through
from tests.faults.faults import WorkerDies
from tests.faults.ledger import Ledger, sagas_by_id
from tests.faults.order_cases import Goods
from tests.faults.placing import place
from tests.faults.points import StoppingRouter, intercepted
from tests.faults.saga import WatchedSaga
from tests.faults.services import QueuedStarter, Resting, host_every_service
from tests.faults.transfer_cases import Payment, payments_of
from tests.faults.transfer_ledger import PREPARED, TransferLedger
from tests.support.services import followed
from tests.support.world import World
from workers.run import new_worker
from workflows.transfers.transfer import TASK_QUEUE as TRANSFERS

AT_ONCE, AT_ONCE_BROKEN = 24, 60
# At first, and one more with each that has ended: of many at once, a worker that has just started ends none on a slow
# machine.
AT_ONCE_FIRST = 4
DEATHS_AT_ONCE = 2
TASK_TIMEOUT = timedelta(seconds=2)
RECOVERIES_MAX = 5


@dataclass(frozen=True)
class Verdict:
    """`faults` by case; a case that passed has none. `unrelated`: violations that belong to no case."""

    faults: dict[str, list[str]]
    unrelated: list[str]


class Battery:
    def __init__(self, world: World, databases: Databases, client: Client, whole: bool, sandboxed: bool) -> None:
        """`whole`: False for one that was broken on purpose, in this process, so that many orders will never end. The
        sandbox would load what is broken again, whole."""
        self._world = world
        self._databases = databases
        self._whole = whole
        self._at_once, self._ends_within_seconds = (AT_ONCE, 240.0) if whole else (AT_ONCE_BROKEN, 45.0)
        self._sagas: dict[str, WatchedSaga] = {}
        self._client = intercepted(client, self._sagas)
        self._settings = Settings(workflow_sandbox=sandboxed, stuck_after_seconds=3)
        self._router = StoppingRouter(world.cluster)
        self._queues: dict[str, str] = {}
        host_every_service()

    async def run(self, cases: Sequence[Case], say: Callable[[str], None]) -> Verdict:
        goods = [Goods(case, number) for number, case in enumerate(cases) if not case.is_of_transfers]
        payments = await payments_of(self._world, [case for case in cases if case.is_of_transfers])
        await order_cases.fill(self._world, goods)
        await transfer_cases.fill(self._world, payments)
        every: list[Goods | Payment] = [*goods, *payments]
        resting = Resting(self._world.cluster, self._client)
        sagas = [WatchedSaga(each, self._world, self._client, resting, self._ends_within_seconds) for each in every]
        self._sagas.update(sagas_by_id(sagas))
        async with AsyncExitStack() as workers:
            for queue in (*Service, TRANSFERS):
                worker = new_worker(self._client, self._router, self._settings, queue)
                await workers.enter_async_context(worker)
            shards = self._world.cluster.primaries.values()
            starters = [QueuedStarter(shard, self._client, self._queues) for shard in shards]
            await workers.enter_async_context(followed(starters))
            await self._live(sagas, say)
            await asyncio.gather(*(saga.settle() for saga in sagas))
        say("judging")
        return await self._judge(sagas)

    async def _live(self, sagas: Sequence[WatchedSaga], say: Callable[[str], None]) -> None:
        turns = asyncio.Semaphore(AT_ONCE_FIRST)
        done = 0

        async def live(saga: WatchedSaga) -> None:
            nonlocal done
            async with turns:
                await place(saga, self._client, saga.queue, TASK_TIMEOUT)
                await saga.end()
            done += 1
            if AT_ONCE_FIRST + done <= self._at_once:
                turns.release()
            if done % AT_ONCE == 0:
                say(f"{done} ended")

        alive = [saga for saga in sagas if not isinstance(saga.case.fault, WorkerDies)]
        dying = batched_by_death([saga for saga in sagas if isinstance(saga.case.fault, WorkerDies)])
        around = Surroundings(self._client, self._router, self._settings, self._databases, self._queues)
        async with asyncio.TaskGroup() as group:
            for saga in alive:
                group.create_task(live(saga))
            deaths = asyncio.Semaphore(DEATHS_AT_ONCE)
            for number, batch in enumerate(dying):
                group.create_task(self._die(batch, around, f"dying-{number}", deaths))
        await self._recover([saga for saga in alive if saga.case.fault.terminates])

    async def _die(
        self, batch: Sequence[WatchedSaga], around: Surroundings, queue: str, turns: asyncio.Semaphore
    ) -> None:
        async with turns:
            await live_through(batch, around, queue)

    async def _recover(self, terminated: Sequence[WatchedSaga]) -> None:
        """Until `recover` finds nothing more to start again."""

        async def client() -> Client:
            return self._client

        if not terminated:
            return
        reads = ShardReads(self._router, ReadSettings())
        recovery = Recovery(
            Connections(self._world.cluster, self._router, reads, client), self._settings, lambda *_: None
        )
        for _ in range(RECOVERIES_MAX if self._whole else 1):
            found = await recovery.find()
            ids = [
                *(order_saga_id(each.order_id) for each in found.orders),
                *(each.saga_id for each in found.transfers),
            ]
            if not ids:
                return
            await recovery.start(found)
            await asyncio.gather(*(self._sagas[saga_id].end() for saga_id in ids))
        for saga in terminated:
            saga.faults.append("recovered, there are still abandoned sagas")

    async def _judge(self, sagas: Sequence[WatchedSaga]) -> Verdict:
        ledger, transfer_ledger = Ledger(), TransferLedger()
        await ledger.read(self._world)
        await transfer_ledger.read(self._world)
        for saga in sagas:
            if isinstance(saga.about, Goods):
                ledger.judge(saga, saga.about)
            else:
                transfer_ledger.judge(saga, saga.about)
        audit = Audit(self._world.cluster, TemporalWorkflowStates(self._client), lambda *_: None)
        await audit.run()
        unrelated = [f"in flight at rest: {saga_id}" for saga_id in audit.in_flight.sagas]
        for finding in audit.findings.by_check.values():
            for violation in finding.violations:
                mine = self._sagas.get(str(violation.row.get("saga_id")))
                (mine.faults if mine is not None else unrelated).append(f"verify: {violation.what}")
        await self._roll_back_prepared()
        return Verdict({saga.case.name: saga.faults for saga in sagas}, unrelated)

    async def _roll_back_prepared(self) -> None:
        """What is left prepared is reported already; it would keep its database from being dropped."""
        for shard in self._world.cluster.primaries.values():
            async with shard.autocommit() as connection:
                for gid in (await connection.exec_driver_sql(PREPARED)).scalars().all():
                    await connection.exec_driver_sql(f"ROLLBACK PREPARED '{gid}'")


@asynccontextmanager
async def battery_on(databases: Databases, client: Client, whole: bool, sandboxed: bool) -> AsyncIterator[Battery]:
    cluster = Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=25)
    async with cluster:
        yield Battery(World(cluster), databases, client, whole, sandboxed)
