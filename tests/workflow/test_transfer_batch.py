"""The workflow of a batch: rounds, line ranges, histories begun anew, and no cancel."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.interfaces import BatchCounts, LineRange, RangeDone, TransferBatchActivities
from domain.transfer_batch import Round, batch_workflow_id
from tests.workflow.driving import Replays
from workers.runner.sandbox import workflow_runner
from workflows.interfaces import BatchOptions, TransferBatch
from workflows.transfers.batch import TransferBatchWorkflow

_numbers = itertools.count(1)

LINES = {"shard-1": 50, "shard-2": 21}


class Ledger(TransferBatchActivities):
    """Every fifth line lacks money at first. `fails` is how many attempts do."""

    def __init__(self, fails: int = 0) -> None:
        self.ranges: list[LineRange] = []
        self.finished: list[str] = []
        self.fails = fails
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()
        self.go_on.set()

    @activity.defn(name="carry_out_lines")
    async def carry_out_lines(self, range_: LineRange) -> RangeDone:
        self.reached.set()
        await self.go_on.wait()
        if self.fails:
            self.fails -= 1
            raise ApplicationError("away")
        self.ranges.append(range_)
        postponed = [n for n in range(1, LINES[range_.shard] + 1) if n % 5 == 0]
        turn = postponed if range_.round_ is Round.SECOND else range(1, LINES[range_.shard] + 1)
        lines = [n for n in turn if n > range_.after][: range_.lines]
        late = 0 if range_.round_ is Round.SECOND else sum(n in postponed for n in lines)
        return RangeDone(lines[-1] if lines else None, BatchCounts(settled=len(lines) - late, postponed=late))

    @activity.defn(name="finish_batch")
    async def finish_batch(self, batch_id: str) -> None:
        self.finished.append(batch_id)


@asynccontextmanager
async def at_work(env: WorkflowEnvironment, ledger: Ledger) -> AsyncIterator[str]:
    """The queue that is polled."""
    queue = f"batches-{next(_numbers)}"
    activities = [ledger.carry_out_lines, ledger.finish_batch]
    runner = workflow_runner(sandboxed=True)
    async with Worker(
        env.client, task_queue=queue, workflows=[TransferBatchWorkflow], activities=activities, workflow_runner=runner
    ):
        yield queue


def batch(events_max: int = 10_000) -> TransferBatch:
    return TransferBatch(f"b{next(_numbers)}", LINES, BatchOptions(range_lines=10, events_max=events_max))


async def test_every_line_is_processed_and_the_second_round_waits_for_all_of_the_first(
    env: WorkflowEnvironment, replays: Replays
) -> None:
    ledger, request = Ledger(fails=2), batch()
    async with at_work(env, ledger) as queue:
        handle = await env.client.start_workflow(
            TransferBatchWorkflow.run, request, id=batch_workflow_id(request.batch_id), task_queue=queue
        )
        done = await handle.result()
        assert await handle.query(TransferBatchWorkflow.progress) == done
    assert (done.counts.settled, done.counts.postponed) == (71, 14)
    assert done.after == {"shard-1": None, "shard-2": None}
    rounds = [range_.round_ for range_ in ledger.ranges]
    assert rounds == sorted(rounds)
    for shard in LINES:
        after = [each.after for each in ledger.ranges if (each.shard, each.round_) == (shard, Round.FIRST)]
        assert after == sorted(set(after))
    assert ledger.finished == [request.batch_id]
    await replays.add("in two rounds", env.client.get_workflow_handle(handle.id))


async def test_a_long_history_is_begun_anew_and_no_line_is_processed_twice(
    env: WorkflowEnvironment, replays: Replays
) -> None:
    ledger, request = Ledger(), batch(events_max=12)
    async with at_work(env, ledger) as queue:
        handle = await env.client.start_workflow(
            TransferBatchWorkflow.run, request, id=batch_workflow_id(request.batch_id), task_queue=queue
        )
        done = await handle.result()
        last = await env.client.get_workflow_handle(handle.id).describe()
        assert last.run_id != handle.first_execution_run_id
        assert last.history_length < 40
    assert (done.counts.settled, done.counts.postponed) == (71, 14)
    turns = [(range_.shard, range_.round_, range_.after) for range_ in ledger.ranges]
    assert len(turns) == len(set(turns))
    await replays.add("begun anew", env.client.get_workflow_handle(handle.id))


async def test_a_cancel_has_no_effect(env: WorkflowEnvironment) -> None:
    ledger, request = Ledger(), batch()
    ledger.go_on.clear()
    async with at_work(env, ledger) as queue:
        handle = await env.client.start_workflow(
            TransferBatchWorkflow.run, request, id=batch_workflow_id(request.batch_id), task_queue=queue
        )
        await ledger.reached.wait()
        await handle.cancel()
        ledger.go_on.set()
        assert (await handle.result()).counts.settled == 71


@pytest.mark.parametrize("lines", [{}, {"shard-1": 50}])
async def test_shards_without_lines_are_not_asked(env: WorkflowEnvironment, lines: dict[str, int]) -> None:
    ledger, request = Ledger(), TransferBatch(f"b{next(_numbers)}", lines)
    async with at_work(env, ledger) as queue:
        await env.client.execute_workflow(
            TransferBatchWorkflow.run, request, id=batch_workflow_id(request.batch_id), task_queue=queue
        )
    assert {range_.shard for range_ in ledger.ranges} == set(lines)
    assert ledger.finished == [request.batch_id]
