"""`kill -9` of the worker at every border between the phases of a two-phase commit, each time for all transfers at
once. The money is whole in the end, whoever ends it: another worker, the sweep, or the saga started again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import pytest
from temporalio.client import Client

from activities.coordinators import coordinator_of
from domain.transfers import ProtocolChoice, TransferStatus
from domain.two_phase import ParticipantOutcome
from shards.connections.cluster import Cluster
from shards.transfers.in_doubt import Sweep
from stack.settings import Databases, Settings
from tests.conftest import FreshNamespace
from tests.faults.phases import BORDERS, SOURCE, PhaseBorder
from tests.support.two_phase import TransferByHand, new_transfer, nothing_left_prepared
from tests.support.world import World
from workers.run import HOSTED, new_worker
from workflows.interfaces import CarryOutTransfer
from workflows.transfers.transfer import TASK_QUEUE, TransferWorkflow, workflow_id

DIES_WITHIN_SECONDS = 60
# Short, or the next worker would wait for the dead one's tasks as long as a customer has to.
TASK_TIMEOUT = timedelta(seconds=2)

_queues = (f"dying-{n}" for n in itertools.count())


@dataclass(frozen=True)
class Doomed:
    border: PhaseBorder
    transfer: TransferByHand

    @property
    def workflow_id(self) -> str:
        return workflow_id(self.transfer.transfer)

    async def assert_whole(self, committed: bool) -> None:
        states = ("confirmed", "credited") if committed else ("declined", "withdrawn")
        before = 10_00 if self.border.votes_no else 100_00
        money = (before - 30_00, 30_00) if committed else (before, 0)
        assert (await self.transfer.prepared(), await self.transfer.states()) == ([], states), self.border
        assert await self.transfer.money() == money, self.border


@dataclass(frozen=True)
class CoordinatorCases:
    databases: Databases
    client: Client
    world: World
    doomed: list[Doomed]
    queue: str

    async def start(self, each: Doomed) -> None:
        await self.client.start_workflow(
            TransferWorkflow.run,
            CarryOutTransfer(each.transfer.transfer, ProtocolChoice.TWO_PHASE),
            id=each.workflow_id,
            task_queue=self.queue,
            task_timeout=TASK_TIMEOUT,
        )

    async def end_with_another_worker(self) -> None:
        HOSTED[self.queue] = HOSTED[TASK_QUEUE]
        async with new_worker(self.client, self.world.router, Settings(workflow_sandbox=True), self.queue):
            await asyncio.gather(*(self._result(each) for each in self.doomed))

    async def _result(self, each: Doomed) -> None:
        handle = self.client.get_workflow_handle_for(TransferWorkflow.run, each.workflow_id)
        result = await handle.result()
        expected = TransferStatus.DECLINED if each.border.votes_no else TransferStatus.SETTLED
        assert result.status is expected, (each.border, result.refusal)

    async def terminate_all(self) -> None:
        for each in self.doomed:
            await self.client.get_workflow_handle(each.workflow_id).terminate("by mistake")


@pytest.fixture
async def cases(cluster_dsns: Databases, fresh_namespace: FreshNamespace) -> AsyncIterator[CoordinatorCases]:
    """A transfer for each border; its worker has died when all of them had come there."""
    async with (
        Cluster(cluster_dsns.shards, cluster_dsns.catalog, cluster_dsns.read_model, pool_size=10) as cluster,
        nothing_left_prepared(cluster),
    ):
        world = World(cluster)
        doomed = [
            Doomed(border, await new_transfer(world, balance="10.00" if border.votes_no else "100.00", opened=False))
            for border in BORDERS.values()
        ]
        made = CoordinatorCases(cluster_dsns, await fresh_namespace(), world, doomed, next(_queues))
        await _die(made)
        yield made
        assert await world.violations() == []


async def _die(cases: CoordinatorCases) -> None:
    names = {border: name for name, border in BORDERS.items()}
    plan = {
        "databases": {
            "shards": cases.databases.shards,
            "catalog": cases.databases.catalog,
            "read_model": cases.databases.read_model,
        },
        "temporal": {
            "target_host": cases.client.service_client.config.target_host,
            "namespace": cases.client.namespace,
        },
        "queue": cases.queue,
        "borders": {each.workflow_id: names[each.border] for each in cases.doomed},
    }
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.dying_coordinator"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        for each in cases.doomed:
            await cases.start(each)
        async with asyncio.timeout(DIES_WITHIN_SECONDS):
            said, _ = await worker.communicate(json.dumps(plan).encode())
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    assert set(said.decode().split()) == {each.workflow_id for each in cases.doomed}
    assert worker.returncode == -9


async def test_the_next_worker_ends_them_all_without_help(cases: CoordinatorCases) -> None:
    await cases.end_with_another_worker()
    for each in cases.doomed:
        await each.assert_whole(committed=not each.border.votes_no)


async def test_the_sweep_ends_those_whose_workflow_was_terminated_by_what_was_decided(cases: CoordinatorCases) -> None:
    ask = partial(coordinator_of, cases.client)
    running = await Sweep(cases.world.router, ask, older_than_seconds=0).run()
    assert running.resolved == []
    await cases.terminate_all()
    in_doubt = {gid for each in cases.doomed for gid in map(each.transfer.gid, await each.transfer.prepared())}
    assert len(in_doubt) >= len(BORDERS) / 2

    report = await Sweep(cases.world.router, ask, older_than_seconds=0).run()
    assert (report.waiting, {each.gid for each in report.resolved}) == ([], in_doubt)
    outcomes = {each.saga_id: each.outcome for each in report.resolved}
    for each in cases.doomed:
        if each.workflow_id in outcomes:
            committed = each.border.is_decided and not each.border.votes_no
            assert outcomes[each.workflow_id] is (
                ParticipantOutcome.COMMITTED if committed else ParticipantOutcome.ABORTED
            ), each.border
            await each.assert_whole(committed)
        assert await each.transfer.prepared() == []


async def test_started_again_from_their_rows_they_come_to_their_ends(cases: CoordinatorCases) -> None:
    await cases.terminate_all()
    for each in cases.doomed:
        await cases.start(each)
    await cases.end_with_another_worker()
    for each in cases.doomed:
        await each.assert_whole(committed=not each.border.votes_no)


async def test_swept_and_then_started_again_they_return_what_the_sweep_decided(cases: CoordinatorCases) -> None:
    await cases.terminate_all()
    await Sweep(cases.world.router, partial(coordinator_of, cases.client), older_than_seconds=0).run()
    undecided = [each for each in cases.doomed if not each.border.is_decided]
    for each in undecided:
        assert (await each.transfer.states())[0] == "declined"
        await cases.start(each)
    HOSTED[cases.queue] = HOSTED[TASK_QUEUE]
    async with new_worker(cases.client, cases.world.router, Settings(workflow_sandbox=True), cases.queue):
        for each in undecided:
            result = await cases.client.get_workflow_handle_for(TransferWorkflow.run, each.workflow_id).result()
            assert result.status is TransferStatus.DECLINED
            await each.assert_whole(committed=False)
            vote = await each.transfer.prepare(SOURCE)
            assert vote.refusal == result.refusal
