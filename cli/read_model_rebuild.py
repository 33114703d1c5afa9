"""The rebuild's workflow as seen from outside: start or join it, watch it, await its end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from cli.progress import Report
from cli.saga_calls import TASK_TIMEOUT, answered, ended, has_worker, no_answer, started
from domain.errors import ShardwiseError
from domain.limits import SECONDS_MAX
from shards.engines import Cluster
from shards.projection.filling import Rows, filled, to_fill
from shards.side_by_side import all_ended
from workflows.interfaces import Phase, Rebuild, Rebuilt
from workflows.read_model_rebuild import TASK_QUEUE, WORKFLOW_ID, ReadModelRebuild

Handle = WorkflowHandle[ReadModelRebuild, Rebuilt]

START_SECONDS = 30.0
POLL_SECONDS = 0.5


class ReadModelRebuilds:
    def __init__(self, temporal: Callable[[], Awaitable[Client]], cluster: Cluster) -> None:
        self._temporal = temporal
        self._cluster = cluster

    async def has_worker(self) -> bool:
        """Whether a worker has polled for rebuilds lately."""
        return await has_worker(await self._temporal(), TASK_QUEUE)

    async def is_running(self) -> bool:
        """Raises `Unreachable`."""
        client = await self._temporal()
        try:
            found = await client.get_workflow_handle(WORKFLOW_ID).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False
            raise no_answer(error.message) from error
        return found.status is WorkflowExecutionStatus.RUNNING

    async def start(self, rebuild: Rebuild) -> Handle:
        """Begins a rebuild; joins one that runs. `Unreachable` where it could not be told whether it was started."""
        client = await self._temporal()

        async def start() -> Handle:
            return await client.start_workflow(
                ReadModelRebuild.run,
                rebuild,
                id=WORKFLOW_ID,
                task_queue=TASK_QUEUE,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary="a new version of the read model, beside the old",
            )

        return await started(start, START_SECONDS)

    async def ended(self, handle: Handle, report: Report, quiet_seconds: float) -> Rebuilt | None:
        """Waits for the end; None when nothing has moved for `quiet_seconds`. Raises `SagaBroke`."""
        total = sum(each.rows for each in await self.to_fill())
        result = asyncio.create_task(ended(handle, SECONDS_MAX))
        last: object = None
        moved_at = time.monotonic()
        try:
            while not (await asyncio.wait({result}, timeout=POLL_SECONDS))[0]:
                phase = await answered(handle.query(ReadModelRebuild.phase))
                rows = await self._filled()
                # A comparison is one long look, which its activity's heartbeats answer for.
                if (phase, rows) != last or phase is Phase.COMPARING:
                    last, moved_at = (phase, rows), time.monotonic()
                    report(_told(phase, rows), sum(rows.values()), max(total, sum(rows.values())))
                elif time.monotonic() - moved_at > quiet_seconds:
                    return None
            return result.result()
        finally:
            result.cancel()

    async def to_fill(self) -> Sequence[Rows]:
        """Raises `Unreachable`."""
        counts = await all_ended(to_fill(shard) for shard in self._cluster.shards.values())
        return [each for of_shard in counts for each in of_shard]

    async def _filled(self) -> dict[str, int]:
        """By shard, as far as anybody answers."""
        try:
            found = await filled(self._cluster.read_model)
        except ShardwiseError:
            return {}
        return {shard: sum(each.rows for each in found if each.shard == shard) for shard in self._cluster.shards}


def _told(phase: Phase | None, rows: Mapping[str, int]) -> str:
    shards = ", ".join(f"{shard} {count}" for shard, count in rows.items() if count)
    return f"{phase or 'waiting for a worker'}, rows filled" + (f" ({shards})" if shards else "")
