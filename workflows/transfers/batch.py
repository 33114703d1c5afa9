"""A batch of transfers: two rounds over all source shards side by side, in the order of the file on each of them.

The rows know what has become of each line. The workflow keeps no more than how far it has come on each shard, and says
so to whoever asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities.interfaces import LineRange, TransferBatchActivities
from domain.transfer_batch import Round
from workflows.entrance.bad_input import bad_input_refused
from workflows.interfaces import BatchProgress, TransferBatch
from workflows.saga_steps import shielded

TASK_QUEUE = "transfers"

# A line range is some chunks of some transactions, and is heard of after each of these.
START_TO_CLOSE = timedelta(minutes=5)
# Scheduled, started and completed, and a workflow task of its own: at most.
EVENTS_PER_RANGE = 6
# Whatever was asked for: Temporal ends a workflow with more than 51,200.
EVENTS_MAX = 40_000
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5))


@workflow.defn(name="TransferBatchWorkflow")
class TransferBatchWorkflow:
    @workflow.init
    def __init__(self, batch: TransferBatch) -> None:
        self._batch = batch
        self._progress = batch.progress or _beginning(Round.FIRST, batch.lines)
        self._ranges = 0

    @workflow.run
    async def run(self, batch: TransferBatch) -> BatchProgress:
        # A cancel is not heard: each line has an outcome of its own, and what has left one account must arrive.
        with bad_input_refused():
            return await shielded(self._carry_out(), lambda: None)

    @workflow.query
    def progress(self) -> BatchProgress:
        return self._progress

    async def _carry_out(self) -> BatchProgress:
        await self._round()
        if self._progress.round_ is Round.FIRST:
            # All that the first round moved has arrived, and can be spent.
            second = _beginning(Round.SECOND, self._batch.lines)
            self._progress = replace(second, counts=self._progress.counts)
            await self._round()
        await workflow.execute_activity_method(
            TransferBatchActivities.finish_batch,
            self._batch.batch_id,
            summary="the staged lines are no longer needed",
            start_to_close_timeout=timedelta(seconds=10),
            retry_policy=RETRY,
        )
        return self._progress

    async def _round(self) -> None:
        await asyncio.gather(*(self._on_shard(shard) for shard in sorted(self._progress.after)))
        if any(after is not None for after in self._progress.after.values()):
            workflow.continue_as_new(replace(self._batch, progress=self._progress))

    async def _on_shard(self, shard: str) -> None:
        """Until the round is done there, or the history is long enough."""
        round_, options = self._progress.round_, self._batch.options
        while (after := self._progress.after[shard]) is not None and not self._history_is_long():
            self._ranges += 1
            range_ = LineRange(self._batch.batch_id, shard, round_, after, options.range_lines, options.chunk_lines)
            done = await workflow.execute_activity_method(
                TransferBatchActivities.carry_out_lines,
                range_,
                summary=f"round {round_}: lines on {shard} behind line {after}",
                start_to_close_timeout=START_TO_CLOSE,
                heartbeat_timeout=timedelta(seconds=options.heartbeat_seconds),
                retry_policy=RETRY,
            )
            self._progress = BatchProgress(
                round_, {**self._progress.after, shard: done.last}, self._progress.counts + done.counts
            )

    def _history_is_long(self) -> bool:
        """By what this run has done, and not by what the SDK tells of the history: behind a task that was lost with its
        worker, a replay was told another length than the run itself."""
        return self._ranges * EVENTS_PER_RANGE >= min(self._batch.options.events_max, EVENTS_MAX)


def _beginning(round_: Round, lines: Mapping[str, int]) -> BatchProgress:
    return BatchProgress(round_, dict.fromkeys(lines, 0))
