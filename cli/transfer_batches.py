"""Batches' workflows seen from outside: start or join one, watch it, await its end. Survives servers that restart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from cli.common import within
from domain.errors import Unreachable
from domain.transfer_batch import batch_workflow_id
from workflows.transfer_batch import TASK_QUEUE, BatchProgress, TransferBatch, TransferBatchWorkflow

Handle = WorkflowHandle[TransferBatchWorkflow, BatchProgress]

TASK_TIMEOUT = timedelta(seconds=5)
START_SECONDS = 30.0
RETRY_SECONDS = 0.5
POLL_SECONDS = 0.5
QUERY_SECONDS = 2.0


class BatchBroke(Exception):
    """The workflow failed or was terminated: nothing works on the batch any more until it is started again."""


class TransferBatches:
    def __init__(self, temporal: Callable[[], Awaitable[Client]]) -> None:
        self._temporal = temporal

    async def start(self, batch: TransferBatch) -> Handle:
        """Has the batch carried out; joins a workflow that runs. One that has ended is run again, which moves nothing
        that was moved. `Unreachable` where it could not be told whether it was started."""
        client = await self._temporal()
        reason = "no answer"
        try:
            async with asyncio.timeout(START_SECONDS):
                while True:
                    try:
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
                    except RPCError as error:
                        reason = error.message
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            raise Unreachable("temporal_unreachable", f"Temporal does not answer: {reason}") from None

    async def ended(self, handle: Handle, on_progress: Callable[[BatchProgress], None], quiet_seconds: float) -> bool:
        """Waits for the end; False when nothing has moved for `quiet_seconds`. Raises `BatchBroke`."""
        result = asyncio.create_task(_result(handle))
        last, moved_at = None, time.monotonic()
        try:
            while not (await asyncio.wait({result}, timeout=POLL_SECONDS))[0]:
                progress = await _progress(handle)
                if progress is not None and progress != last:
                    last, moved_at = progress, time.monotonic()
                    on_progress(progress)
                elif time.monotonic() - moved_at > quiet_seconds:
                    return False
            on_progress(result.result())
            return True
        finally:
            result.cancel()


async def _result(handle: Handle) -> BatchProgress:
    while True:
        try:
            return await handle.result()
        except WorkflowFailureError as error:
            raise BatchBroke(str(error.cause)) from error
        except RPCError:
            await asyncio.sleep(RETRY_SECONDS)


async def _progress(handle: Handle) -> BatchProgress | None:
    """None where nobody answers in time: a worker may be away, or busy."""
    try:
        return await within(handle.query(TransferBatchWorkflow.progress), QUERY_SECONDS)
    except (TimeoutError, RPCError):
        return None
