"""Calls to batches' workflows: start or join one, watch it, await its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio.client import Client, WorkflowHandle

from domain.transfer_batch import batch_workflow_id
from shardwise.temporal.calls import Workflows, WorkflowStart, answer_or_none, wait_while_moving
from workflows.interfaces import BatchProgress, TransferBatch
from workflows.transfers.batch import TASK_QUEUE, TransferBatchWorkflow

Handle = WorkflowHandle[TransferBatchWorkflow, BatchProgress]

START_SECONDS = 30.0


class TransferBatches:
    def __init__(self, temporal: Callable[[], Awaitable[Client]]) -> None:
        self._workflows = Workflows(temporal)

    async def has_worker(self) -> bool:
        """Whether a worker has polled for transfers lately."""
        return await self._workflows.has_worker(TASK_QUEUE)

    async def start(self, batch: TransferBatch) -> Handle:
        """Starts the batch, or joins a workflow that runs. One that has ended is run again, which moves nothing twice.
        `Unreachable` if it is not known whether it was started."""
        start = WorkflowStart(batch_workflow_id(batch.batch_id), TASK_QUEUE, f"{sum(batch.lines.values())} transfers")
        return await self._workflows.start(TransferBatchWorkflow.run, batch, start, START_SECONDS)

    async def ended(self, handle: Handle, on_progress: Callable[[BatchProgress], None], quiet_seconds: float) -> bool:
        """Waits for the end; False if nothing has moved for `quiet_seconds`. Raises `WorkflowFailed`."""
        last: BatchProgress | None = None

        async def has_moved() -> bool:
            nonlocal last
            progress = await answer_or_none(handle.query(TransferBatchWorkflow.progress))
            if progress is None or progress == last:
                return False
            last = progress
            on_progress(progress)
            return True

        return await wait_while_moving(handle, has_moved, quiet_seconds) is not None
