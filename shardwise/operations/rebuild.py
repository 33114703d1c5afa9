"""Calls to the rebuild's workflow: start or join it, watch it, await its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError

from domain.errors import ShardwiseError
from domain.progress import Report
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.projection.filling import Rows, filled, to_fill
from shardwise.temporal.calls import Workflows, WorkflowStart, answer_or_none, temporal_unreachable, wait_while_moving
from workflows.interfaces import Phase, Rebuild, Rebuilt
from workflows.read_model_rebuild import TASK_QUEUE, WORKFLOW_ID, ReadModelRebuild

Handle = WorkflowHandle[ReadModelRebuild, Rebuilt]

START_SECONDS = 30.0


class ReadModelRebuilds:
    def __init__(self, temporal: Callable[[], Awaitable[Client]], cluster: Cluster) -> None:
        self._workflows = Workflows(temporal)
        self._cluster = cluster

    async def has_worker(self) -> bool:
        """Whether a worker has polled for rebuilds lately."""
        return await self._workflows.has_worker(TASK_QUEUE)

    async def is_running(self) -> bool:
        """Raises `Unreachable`."""
        try:
            found = await self._workflows.describe(WORKFLOW_ID)
        except RPCError as error:
            raise temporal_unreachable(error.message) from error
        return found is not None and found.status is WorkflowExecutionStatus.RUNNING

    async def start(self, rebuild: Rebuild) -> Handle:
        """Begins a rebuild; joins one that runs. `Unreachable` if it is not known whether it was started."""
        start = WorkflowStart(WORKFLOW_ID, TASK_QUEUE, "a new version of the read model, beside the old")
        return await self._workflows.start(ReadModelRebuild.run, rebuild, start, START_SECONDS)

    async def ended(self, handle: Handle, report: Report, quiet_seconds: float) -> Rebuilt | None:
        """Waits for the end; None if nothing has moved for `quiet_seconds`. Raises `WorkflowFailed`."""
        total = sum(each.rows for each in await self.to_fill())
        last: object = None

        async def has_moved() -> bool:
            nonlocal last
            phase = await answer_or_none(handle.query(ReadModelRebuild.phase))
            rows = await self._filled()
            # A comparison takes long and shows no progress; its activity's heartbeats prove that it is alive.
            if (phase, rows) == last and phase is not Phase.COMPARING:
                return False
            last = (phase, rows)
            report(_progress_line(phase, rows), sum(rows.values()), max(total, sum(rows.values())))
            return True

        return await wait_while_moving(handle, has_moved, quiet_seconds)

    async def to_fill(self) -> Sequence[Rows]:
        """Raises `Unreachable`."""
        counts = await gather_all(to_fill(shard) for shard in self._cluster.primaries.values())
        return [each for of_shard in counts for each in of_shard]

    async def _filled(self) -> dict[str, int]:
        """By shard; empty if the read model does not answer."""
        try:
            found = await filled(self._cluster.read_model)
        except ShardwiseError:
            return {}
        return {shard: sum(each.rows for each in found if each.shard == shard) for shard in self._cluster.primaries}


def _progress_line(phase: Phase | None, rows: Mapping[str, int]) -> str:
    shards = ", ".join(f"{shard} {count}" for shard, count in rows.items() if count)
    return f"{phase or 'waiting for a worker'}, rows filled" + (f" ({shards})" if shards else "")
