"""Batches' workflows as seen from outside: start or join one, watch it, await its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy

from cli.saga_calls import TASK_TIMEOUT, answered, ended, has_worker, started
from domain.limits import SECONDS_MAX
from domain.transfer_batch import batch_workflow_id
from workflows.interfaces import BatchProgress, TransferBatch
from workflows.transfer_batch import TASK_QUEUE, TransferBatchWorkflow

Handle = WorkflowHandle[TransferBatchWorkflow, BatchProgress]

START_SECONDS = 30.0
POLL_SECONDS = 0.5


class TransferBatches:
    def __init__(self, temporal: Callable[[], Awaitable[Client]]) -> None:
        self._temporal = temporal

    async def has_worker(self) -> bool:
        """Whether a worker has polled for transfers lately."""
        return await has_worker(await self._temporal(), TASK_QUEUE)

    async def start(self, batch: TransferBatch) -> Handle:
        """Has the batch carried out; joins a workflow that runs. One that has ended is run again, which moves nothing
        that was moved. `Unreachable` where it could not be told whether it was started."""
        client = await self._temporal()

        async def start() -> Handle:
            return await client.start_workflow(
                TransferBatchWorkflow.run,
                batch,
                id=batch_workflow_id(batch.batch_id),
                task_queue=TASK_QUEUE,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary=f"{sum(batch.lines.values())} transfers",
            )

        return await started(start, START_SECONDS)

    async def ended(self, handle: Handle, on_progress: Callable[[BatchProgress], None], quiet_seconds: float) -> bool:
        """Waits for the end; False when nothing has moved for `quiet_seconds`. Raises `SagaBroke`."""
        result = asyncio.create_task(ended(handle, SECONDS_MAX))
        last, moved_at = None, time.monotonic()
        try:
            while not (await asyncio.wait({result}, timeout=POLL_SECONDS))[0]:
                progress = await answered(handle.query(TransferBatchWorkflow.progress))
                if progress is not None and progress != last:
                    last, moved_at = progress, time.monotonic()
                    on_progress(progress)
                elif time.monotonic() - moved_at > quiet_seconds:
                    return False
            return result.result() is not None
        finally:
            result.cancel()
