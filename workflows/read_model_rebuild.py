"""Rebuilds the read model: a new version is filled beside the live one from the shards' tables, compared, switched to.

Orders go on meanwhile, and readers read the old version until the switch. Reactors are not involved: they are another
consumer of the outbox, and a rebuild reads events only to bring the new version up to date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy

from activities.interfaces import Compared, CompareShard, FillShard, ReadModelActivities
from workflows.interfaces import Phase, Rebuild, Rebuilt

TASK_QUEUE = "outbox"
WORKFLOW_ID = "read-model-rebuild"

# A worker that is silent for so long is taken for dead; also longer than a chunk takes.
HEARTBEAT_TIMEOUT = timedelta(seconds=10)
RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    maximum_interval=timedelta(seconds=5),
    # Another rebuild has begun; a shard was restored, so that all of it has to be filled anew.
    non_retryable_error_types=["superseded", "history_lost"],
)
COMPARE_WITHIN = timedelta(hours=6)
# How long one switch may take, including the wait for a shard that does not answer.
STEP_WITHIN = timedelta(seconds=10)


WITHIN = "within"


@workflow.defn(name="ReadModelRebuild")
class ReadModelRebuild:
    def __init__(self) -> None:
        self._phase = Phase.BEGINNING

    @workflow.query
    def phase(self) -> Phase:
        return self._phase

    @workflow.run
    async def run(self, rebuild: Rebuild) -> Rebuilt:
        rebuild_id = str(workflow.uuid4())
        begun = await workflow.execute_activity_method(
            ReadModelActivities.begin_rebuild,
            rebuild_id,
            summary="an empty version beside the live one",
            start_to_close_timeout=STEP_WITHIN,
            retry_policy=RETRY,
        )
        if begun.refusal is not None:
            self._phase = Phase.REFUSED
            return Rebuilt(self._phase, refusal=begun.refusal, refusal_code=begun.refusal_code)
        self._phase = Phase.FILLING
        await asyncio.gather(*(self._fill(rebuild_id, shard, rebuild) for shard in begun.shards))
        self._phase = Phase.COMPARING
        compared = await self._compare_all(rebuild_id, begun.shards)
        if any(each.next.wrong for each in compared.values()):
            self._phase = Phase.DAMAGED
            return Rebuilt(self._phase, compared)
        self._phase = Phase.SWITCHING
        await workflow.execute_activity_method(
            ReadModelActivities.switch_read_model,
            rebuild_id,
            summary="the new version becomes the live one",
            start_to_close_timeout=STEP_WITHIN,
            retry_policy=RETRY,
        )
        self._phase = Phase.SWITCHED
        return Rebuilt(self._phase, compared)

    async def _fill(self, rebuild_id: str, shard: str, rebuild: Rebuild) -> None:
        fill = FillShard(rebuild_id, shard, rebuild.fill_seconds, rebuild.chunk_rows)
        done = False
        while not done:
            done = await workflow.execute_activity_method(
                ReadModelActivities.fill_shard,
                fill,
                summary=f"fill from {shard}",
                start_to_close_timeout=timedelta(seconds=rebuild.fill_seconds + 60),
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )

    async def _compare_all(self, rebuild_id: str, shards: Sequence[str]) -> dict[str, Compared]:
        results = await asyncio.gather(*(self._compare(rebuild_id, shard) for shard in (*shards, None)))
        return dict(zip((*shards, WITHIN), results, strict=True))

    async def _compare(self, rebuild_id: str, shard: str | None) -> Compared:
        return await workflow.execute_activity_method(
            ReadModelActivities.compare_shard,
            CompareShard(rebuild_id, shard),
            summary=f"compare with {shard}" if shard else "compare sums and names",
            start_to_close_timeout=COMPARE_WITHIN,
            heartbeat_timeout=HEARTBEAT_TIMEOUT,
            retry_policy=RETRY,
        )
