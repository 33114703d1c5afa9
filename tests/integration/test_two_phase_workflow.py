"""The coordinator on a real Temporal server: its history, a participant that does not vote, a cancel."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle

from domain.sagas import Reason, SagaOptions
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from stack.settings import Databases, Settings
from tests.conftest import FreshNamespace
from tests.support.two_phase import TARGET, TransferByHand, new_transfer, nothing_left_prepared
from tests.support.world import World
from workers.run import HOSTED, new_worker
from workflows.interfaces import CarryOutTransfer, TransferResult
from workflows.transfers.transfer import TASK_QUEUE, TransferWorkflow, workflow_id

Handle = WorkflowHandle[TransferWorkflow, TransferResult]

# Nobody listens there.
DEAD = "postgresql://nobody:nothing@127.0.0.1:9/nowhere"
SECONDS_MAX = 30

_queues = (f"two-phase-{n}" for n in itertools.count())


@dataclass(frozen=True)
class TransferCases:
    client: Client
    world: World
    databases: Databases
    queue: str

    async def begin(self, transfer: TransferByHand, vote_within_seconds: float = 20) -> Handle:
        return await self.client.start_workflow(
            TransferWorkflow.run,
            CarryOutTransfer(transfer.transfer, ProtocolChoice.TWO_PHASE, SagaOptions(), vote_within_seconds),
            id=workflow_id(transfer.transfer),
            task_queue=self.queue,
        )

    @asynccontextmanager
    async def worker(self, without: str | None = None) -> AsyncIterator[None]:
        """One that does not reach the shard `without`."""
        shards = {name: DEAD if name == without else dsn for name, dsn in self.databases.shards.items()}
        HOSTED[self.queue] = HOSTED[TASK_QUEUE]
        async with (
            Cluster(shards, self.databases.catalog, self.databases.read_model, pool_size=2) as cluster,
            new_worker(self.client, Router(cluster), Settings(), self.queue),
        ):
            yield


@pytest.fixture
async def cases(cluster_dsns: Databases, fresh_namespace: FreshNamespace) -> AsyncIterator[TransferCases]:
    async with (
        Cluster(cluster_dsns.shards, cluster_dsns.catalog, cluster_dsns.read_model, pool_size=4) as cluster,
        nothing_left_prepared(cluster),
    ):
        world = World(cluster)
        yield TransferCases(await fresh_namespace(), world, cluster_dsns, next(_queues))
        assert await world.violations() == []


async def _until_declined(transfer: TransferByHand) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while (await transfer.states())[0] != "declined":
            pass


async def test_votes_and_decision_are_in_the_history_and_the_first_to_prepare_is_the_first_of_the_shards(
    cases: TransferCases,
) -> None:
    forth = await new_transfer(cases.world, opened=False)
    back = await new_transfer(cases.world, shards=("shard-2", "shard-1"), opened=False)
    prepared = {}
    async with cases.worker():
        for transfer in (forth, back):
            handle = await cases.begin(transfer)
            assert (await handle.result()).status is TransferStatus.SETTLED
            events = [event async for event in handle.fetch_history_events()]
            steps = [
                event.activity_task_scheduled_event_attributes
                for event in events
                if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED
            ]
            walked = [(each.activity_type.name, _participant(each.input.payloads[0].data)) for each in steps]
            assert walked[-2:] == [("commit_participant", "source"), ("commit_participant", "target")]
            prepared[transfer] = [participant for step, participant in walked if step == "prepare_participant"]
    assert prepared == {forth: ["source", "target"], back: ["target", "source"]}


def _participant(request: bytes) -> str:
    return str(json.loads(request)["participant"])


async def test_a_participant_that_does_not_vote_in_time_counts_as_a_no(cases: TransferCases) -> None:
    transfer = await new_transfer(cases.world, opened=False)
    async with cases.worker(without="shard-2"):
        handle = await cases.begin(transfer, vote_within_seconds=1)
        await _until_declined(transfer)
        # Nothing may be prepared late, so the target has to get its abort, whenever it is back.
        assert await transfer.prepared() == []
    async with cases.worker():
        result = await handle.result()
    assert (result.status, result.refusal and result.refusal.reason) == (TransferStatus.DECLINED, Reason.NO_VOTE)
    assert (await transfer.states(), await transfer.money()) == (("declined", "withdrawn"), (100_00, 0))


async def test_a_cancel_before_the_decision_aborts_without_waiting_for_votes(cases: TransferCases) -> None:
    transfer = await new_transfer(cases.world, opened=False)
    async with cases.worker(without="shard-2"):
        handle = await cases.begin(transfer, vote_within_seconds=600)
        async with asyncio.timeout(SECONDS_MAX):
            while not await transfer.prepared():
                pass
        await handle.cancel()
        await _until_declined(transfer)
    async with cases.worker():
        result = await handle.result()
    assert (result.status, result.refusal and result.refusal.reason) == (TransferStatus.DECLINED, Reason.CANCELLED)
    assert (await transfer.prepare(TARGET)).is_yes is False
    assert (await transfer.states(), await transfer.money()) == (("declined", "withdrawn"), (100_00, 0))


async def test_many_between_the_same_accounts_in_both_directions_all_come_to_their_end(cases: TransferCases) -> None:
    forth = [await new_transfer(cases.world, amount="1.00", balance="100.00", opened=False)]
    sent = forth[0].transfer
    await cases.world.rows("shard-2", "UPDATE account SET overdraft = 10000 WHERE id = :id", id=sent.target)
    transfers = [
        Transfer(f"many-{n}", *((sent.source, sent.target) if n % 2 else (sent.target, sent.source)), sent.amount)
        for n in range(20)
    ]
    async with cases.worker():
        handles = [await cases.begin(TransferByHand(cases.world, each, forth[0].shards), 120) for each in transfers]
        results = [await handle.result() for handle in handles]
    assert {result.status for result in results} == {TransferStatus.SETTLED}
    assert await forth[0].money() == (100_00, 0)
