"""The projection, run by hand: every shard's events into the read model, until nothing is behind."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from shards.outbox.lag import lag_of
from shards.projection.projector import Projector
from shards.tables.versions import Version
from stack.embedded.waiting import attempts
from tests.support.world import World


async def project(world: World, version: Version = Version.LIVE) -> int:
    """Until no shard has events behind this version's cursor: how many were taken."""
    projectors = [Projector(shard, world.cluster.read_model) for shard in world.cluster.primaries.values()]
    taken = 0
    async for _ in attempts(10):
        for projector in projectors:
            taken += (await projector.project(version)).events
        lags = [await lag_of(shard, world.cluster.read_model) for shard in world.cluster.primaries.values()]
        if not any(lag.by_consumer[version].events for lag in lags):
            return taken
    raise AssertionError(f"events stay behind: {lags}")


async def read(world: World, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    async with world.cluster.read_model.transaction() as connection:
        result = await connection.execute(text(sql), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []
