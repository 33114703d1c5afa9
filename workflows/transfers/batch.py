"""A batch of transfers: two rounds over all source shards side by side, in the order of the file on each of them.

The rows hold each line's outcome. The workflow keeps only how far it has come on each shard, and its query `progress`
returns that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities.interfaces import LineRange, TransferBatchActivities
from domain.transfer_batch import Round
from workflows.entrance.bad_input import bad_input_refused
from workflows.interfaces import BatchProgress, TransferBatch
from workflows.saga_steps import shielded

TASK_QUEUE = "transfers"

# A line range is several chunks of a few transactions each, and its activity heartbeats after each transaction.
START_TO_CLOSE = timedelta(minutes=5)
# At most: scheduled, started and completed, and a workflow task of its own.
EVENTS_PER_RANGE = 6
# Whatever the request says: Temporal terminates a workflow with more than 51,200 events.
EVENTS_MAX = 40_000
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5))


@workflow.defn(name="TransferBatchWorkflow")
class TransferBatchWorkflow:
    @workflow.init
    def __init__(self, batch: TransferBatch) -> None:
        self._batch = batch
        self._progress = batch.progress or _start_of(Round.FIRST, batch.lines)
        self._ranges = 0

    @workflow.run
    async def run(self, batch: TransferBatch) -> BatchProgress:
        with bad_input_refused():
            if self._progress.round_ is Round.FIRST:
                await self._shielded(self._carry_out_round())
                self._begin_second_round()
            await self._shielded(self._carry_out_round())
            await self._shielded(self._finish())
        return self._progress

    @workflow.query
    def progress(self) -> BatchProgress:
        return self._progress

    async def _shielded(self, work: Coroutine[Any, Any, None]) -> None:
        """Ignores cancels: each line has an outcome of its own, and what has left one account must arrive."""
        await shielded(work, on_cancel=lambda: None)

    async def _carry_out_round(self) -> None:
        await asyncio.gather(*(self._carry_out_round_on(shard) for shard in sorted(self._progress.after)))
        if any(after is not None for after in self._progress.after.values()):
            workflow.continue_as_new(replace(self._batch, progress=self._progress))

    def _begin_second_round(self) -> None:
        """All that the first round moved has arrived, and can be spent."""
        second = _start_of(Round.SECOND, self._batch.lines)
        self._progress = replace(second, counts=self._progress.counts)

    async def _finish(self) -> None:
        await workflow.execute_activity_method(
            TransferBatchActivities.finish_batch,
            self._batch.batch_id,
            summary="the staged lines are no longer needed",
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RETRY,
        )

    async def _carry_out_round_on(self, shard: str) -> None:
        """Ends when the round is done on this shard, or when the history has become long."""
        round_, options = self._progress.round_, self._batch.options
        while (after := self._progress.after[shard]) is not None and not self._history_is_long():
            self._ranges += 1
            range_ = LineRange(self._batch.batch_id, shard, round_, after, options.range_lines, options.chunk_lines)
            done = await workflow.execute_activity_method(
                TransferBatchActivities.carry_out_lines,
                range_,
                summary=f"round {round_}: lines on {shard} after line {after}",
                start_to_close_timeout=START_TO_CLOSE,
                heartbeat_timeout=timedelta(seconds=options.heartbeat_seconds),
                retry_policy=RETRY,
            )
            self._progress = BatchProgress(
                round_, {**self._progress.after, shard: done.last}, self._progress.counts + done.counts
            )

    def _history_is_long(self) -> bool:
        """Counted from what this run has done, not read from the SDK: after a task that was lost with its worker, the
        SDK reported another history length to a replay than to the run itself."""
        return self._ranges * EVENTS_PER_RANGE >= min(self._batch.options.events_max, EVENTS_MAX)


def _start_of(round_: Round, lines: Mapping[str, int]) -> BatchProgress:
    return BatchProgress(round_, dict.fromkeys(lines, 0))
