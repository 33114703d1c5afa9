"""Two-phase commits on a whole stack: servers killed between the phases, and transfers that nobody decides any more."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    ScheduleSpec,
    ScheduleState,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.service import RPCError

from domain.errors import Unreachable
from domain.transfers import ProtocolChoice, TransferStatus
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from stack.embedded.waiting import attempts
from stack.settings import Settings, resolve_databases
from stack.temporal_client import connect
from tests.faults.phases import BORDERS, PhaseWatcher
from tests.faults.points import intercepted
from tests.support.command import Shardwise
from tests.support.metadata import current_details
from tests.support.two_phase import BOTH, SOURCE, TransferByHand, new_transfer, nothing_left_prepared
from tests.support.world import World
from workers.run import HOSTED, new_worker
from workflows.interfaces import CarryOutTransfer
from workflows.transfers.in_doubt_recovery import WORKFLOW_ID as SCHEDULE
from workflows.transfers.in_doubt_recovery import InDoubtRecovery
from workflows.transfers.in_doubt_sweeper import WORKFLOW_ID as SWEEPER
from workflows.transfers.in_doubt_sweeper import InDoubtSweeper
from workflows.transfers.transfer import TASK_QUEUE, TransferWorkflow, workflow_id

SECONDS_MAX = 60
SERVERS = ("shard-1", "shard-2")
KILLED_AT = (
    "after the first vote",
    "between the votes",
    "between the decision and the first commit",
    "between the commits",
)

Sweeper = WorkflowHandle[InDoubtSweeper, None]

_queues = (f"in-doubt-{n}" for n in itertools.count())


@pytest.fixture
async def world(shardwise: Shardwise) -> AsyncIterator[World]:
    databases = resolve_databases(Settings(data_dir=shardwise.data_dir))
    async with (
        Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=4) as cluster,
        nothing_left_prepared(cluster),
    ):
        yield World(cluster)


@pytest.fixture
async def client(shardwise: Shardwise) -> Client:
    return await connect(Settings(data_dir=shardwise.data_dir))


@pytest.fixture
def sweeper(client: Client) -> Sweeper:
    return client.get_workflow_handle_for(InDoubtSweeper.run, SWEEPER)


@pytest.fixture
async def paused(sweeper: Sweeper) -> AsyncIterator[Sweeper]:
    """The sweeper, which does nothing by itself during the test."""
    await sweeper.signal(InDoubtSweeper.pause)
    # Answered when the signal was received, and no sweep runs any more.
    await sweeper.execute_update(InDoubtSweeper.sweep)
    yield sweeper
    await sweeper.signal(InDoubtSweeper.resume)


class Arrivals:
    """Transfers that wait at their borders until they are let go."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._arrived: set[str] = set()
        self.all_there = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, saga_id: str) -> None:
        self._arrived.add(saga_id)
        if len(self._arrived) == self._expected:
            self.all_there.set()
        await self.go_on.wait()


@asynccontextmanager
async def _worker(world: World, client: Client, watchers: dict[str, PhaseWatcher], queue: str) -> AsyncIterator[None]:
    HOSTED[queue] = HOSTED[TASK_QUEUE]
    async with new_worker(intercepted(client, watchers), Router(world.cluster), Settings(workflow_sandbox=True), queue):
        yield


async def test_servers_that_are_killed_between_the_phases_keep_prepared_transactions(
    shardwise: Shardwise, world: World, client: Client
) -> None:
    transfers = {name: await new_transfer(world, opened=False) for name in KILLED_AT}
    arrivals, queue = Arrivals(len(transfers)), next(_queues)
    sagas = {name: workflow_id(each.transfer) for name, each in transfers.items()}
    watchers = {sagas[name]: PhaseWatcher(sagas[name], BORDERS[name], arrivals) for name in KILLED_AT}
    async with _worker(world, client, watchers, queue):
        handles = [
            await client.start_workflow(
                TransferWorkflow.run,
                # To bring servers back takes longer than a vote may.
                CarryOutTransfer(each.transfer, ProtocolChoice.TWO_PHASE, vote_within_seconds=600),
                id=workflow_id(each.transfer),
                task_queue=queue,
            )
            for each in transfers.values()
        ]
        async with asyncio.timeout(SECONDS_MAX):
            await arrivals.all_there.wait()
        before = {name: await each.prepared() for name, each in transfers.items()}
        try:
            for server in SERVERS:
                shardwise.kill_server(server)
        finally:
            assert shardwise("up", "--detach").exit_code == 0
        await _until_answering(world)
        assert {name: await each.prepared() for name, each in transfers.items()} == before
        assert before["between the decision and the first commit"] == list(BOTH)
        arrivals.go_on.set()
        results = [await handle.result() for handle in handles]
    assert {result.status for result in results} == {TransferStatus.SETTLED}
    for each in transfers.values():
        assert (await each.prepared(), await each.states()) == ([], ("confirmed", "credited"))
        assert await each.money() == (70_00, 30_00)
    assert shardwise.inside("verify").exit_code == 0


async def _until_answering(world: World) -> None:
    """Its connections were to the servers that were killed."""
    for server in SERVERS:
        for database in (world.cluster.shards[server].primary, world.cluster.shards[server].phase_two):
            async for _ in attempts(SECONDS_MAX):
                with suppress(Unreachable):
                    await database.ping()
                    break


async def test_a_transfer_that_nobody_decides_raises_the_alarm_and_is_ended_by_recover(
    shardwise: Shardwise, world: World, paused: Sweeper
) -> None:
    abandoned, committed = await new_transfer(world), await new_transfer(world)
    for each in (abandoned, committed):
        await each.prepare_both()
    await committed.by_hand(SOURCE, "COMMIT")
    in_doubt = {*_gids(abandoned), *_gids(committed)} - {committed.gid(SOURCE)}

    quiet = shardwise.inside("status")
    assert (quiet.exit_code, quiet.document["in_doubt"]) == (0, [])
    alarm = shardwise.inside("status", in_doubt_alarm_seconds="0.001")
    assert alarm.exit_code == 1
    assert {each["gid"] for each in alarm.document["in_doubt"]} == in_doubt

    dry = shardwise.inside("recover", "--dry-run").document
    assert dry["in_doubt"]["waiting"] == dry["in_doubt"]["unreachable"] == []
    assert {each["gid"] for each in dry["in_doubt"]["resolved"]} == in_doubt
    assert await abandoned.prepared() == list(BOTH)

    recovered = shardwise.inside("recover")
    assert (recovered.exit_code, recovered.document["in_doubt"]) == (0, dry["in_doubt"])
    outcomes = {each["saga_id"]: each["outcome"] for each in recovered.document["in_doubt"]["resolved"]}
    assert outcomes == {abandoned.transfer.saga_id: "aborted", committed.transfer.saga_id: "committed"}
    assert (await abandoned.states(), await abandoned.money()) == (("declined", "withdrawn"), (100_00, 0))
    assert (await committed.states(), await committed.money()) == (("confirmed", "credited"), (70_00, 30_00))
    assert shardwise.inside("status", in_doubt_alarm_seconds="0.001").exit_code == 0
    assert shardwise.inside("recover").document["in_doubt"] == {"resolved": [], "waiting": [], "unreachable": []}
    verified = shardwise.inside("verify")
    assert verified.exit_code == 0, verified.stdout


async def test_the_sweeper_comes_back_and_ends_it_by_itself(
    shardwise: Shardwise, world: World, client: Client, sweeper: Sweeper
) -> None:
    before = (await sweeper.describe()).run_id
    await sweeper.terminate("an operator's mistake")
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    async for _ in attempts(2 * SECONDS_MAX):
        if await transfer.states() == ("declined", "withdrawn"):
            break
    assert (await transfer.states(), await transfer.money()) == (("declined", "withdrawn"), (100_00, 0))
    assert await transfer.prepared() == []
    described = await sweeper.describe()
    assert (described.status, described.run_id == before) == (WorkflowExecutionStatus.RUNNING, False)


async def test_an_operator_begins_a_sweep_of_a_paused_sweeper(world: World, paused: Sweeper) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    ended: list[str] = []
    async for _ in attempts(SECONDS_MAX):  # A young transaction is left to its coordinator.
        swept = await paused.execute_update(InDoubtSweeper.sweep)
        assert swept.report is not None
        ended += [each.gid for each in swept.report.resolved]
        if ended:
            break
    assert ended == _gids(transfer)
    assert (await transfer.states(), await transfer.prepared()) == (("declined", "withdrawn"), [])
    assert (await current_details(paused)).startswith("paused: ")


async def test_migrate_puts_the_sweeper_in_the_place_of_an_earlier_releases_schedule(
    shardwise: Shardwise, client: Client, sweeper: Sweeper
) -> None:
    """Paused, if that was; once; and what such a schedule has begun comes to its end."""
    action = ScheduleActionStartWorkflow("InDoubtRecovery", id=SCHEDULE, task_queue=TASK_QUEUE)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(days=1))])
    state = ScheduleState(paused=True)
    await client.create_schedule(SCHEDULE, Schedule(action=action, spec=spec, state=state))
    try:
        assert shardwise.inside("migrate").document["schedules_removed"] == [SCHEDULE]
        assert (await current_details(sweeper)).startswith("paused: ")
        assert shardwise.inside("migrate").document["schedules_removed"] == []
    finally:
        await sweeper.signal(InDoubtSweeper.resume)
    with pytest.raises(RPCError, match="not found"):
        await client.get_schedule_handle(SCHEDULE).describe()
    left = await client.start_workflow(
        InDoubtRecovery.run, id=f"{SCHEDULE}-2026-01-31T00:00:00Z", task_queue=TASK_QUEUE
    )
    assert (await left.result()).unreachable == []


def _gids(transfer: TransferByHand) -> list[str]:
    return [transfer.gid(each) for each in BOTH]
