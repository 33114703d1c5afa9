"""A rebuild of the read model. Contract: `activities.interfaces.ReadModelActivities`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import Begun, Compared, ComparedRows, CompareShard, FillShard, ReadModelActivities
from domain.errors import Refused
from shards.audit.findings import Check, Findings
from shards.audit.read_model import Projected, check_projected, check_version
from shards.connections.database import Database
from shards.projection import switching
from shards.projection.filling import Filling
from shards.routing.router import Router
from shards.tables.versions import Version

HEARTBEAT_SECONDS = 1.0
EXAMPLES_MAX = 5


class ShardedReadModelActivities(ReadModelActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def begin_rebuild(self, rebuild_id: str) -> Begun:
        try:
            await switching.begin(self._router.cluster.read_model, rebuild_id)
        except Refused as refused:
            return Begun(refusal=refused.message, refusal_code=refused.code)
        return Begun(tuple(self._router.cluster.primaries))

    @activity.defn
    @failures_translated
    async def fill_shard(self, fill: FillShard) -> bool:
        ends = time.monotonic() + fill.seconds
        shard = self._router.cluster.primaries[fill.shard]
        filling = Filling(shard, self._router.cluster.read_model, fill.rebuild_id, fill.chunk_rows)
        await filling.begin()
        while await filling.step() or await filling.follow():
            activity.heartbeat()
            if time.monotonic() > ends or activity.is_worker_shutdown():
                return False
        return True

    @activity.defn
    @failures_translated
    async def compare_shard(self, compare: CompareShard) -> Compared:
        read_model = self._router.cluster.read_model
        async with read_model.transaction() as connection:
            await switching.assert_is_next(connection, compare.rebuild_id)
        shard = self._router.cluster.primaries[compare.shard] if compare.shard is not None else None
        async with _heartbeats():
            return Compared(
                await _compared(shard, read_model, Version.NEXT), await _compared(shard, read_model, Version.LIVE)
            )

    @activity.defn
    @failures_translated
    async def switch_read_model(self, rebuild_id: str) -> None:
        await switching.switch(self._router.cluster.read_model, self._router.cluster.primaries, rebuild_id)


async def _compared(shard: Database | None, read_model: Database, version: Version) -> ComparedRows:
    findings, projected = Findings(), Projected()
    async with _without_timeouts(read_model) as projection:
        if shard is None:
            await check_version(projection, findings, version)
        else:
            async with _without_timeouts(shard) as source:
                projected = await check_projected(source, projection, findings, version)
    found = findings.by_check[Check.READ_MODEL]
    examples = tuple(violation.what for violation in found.violations[:EXAMPLES_MAX])
    return ComparedRows(found.checked, projected.moving, found.violation_count, dict(projected.wrong), examples)


@asynccontextmanager
async def _without_timeouts(database: Database) -> AsyncIterator[Database]:
    unlimited = database.without_timeouts()
    try:
        yield unlimited
    finally:
        await unlimited.close()


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Heartbeats while the block runs: comparing a large table is one long statement."""

    async def beat() -> None:
        while True:
            activity.heartbeat()
            await asyncio.sleep(HEARTBEAT_SECONDS)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
