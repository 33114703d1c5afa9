"""Compares the shard map in the catalog with the shards' own records. A restored server may have forgotten a change."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database import Database

# A change of the map commits in the catalog first, and a moment later on the shards.
LOOK_AGAIN_SECONDS = 0.5

_GIVEN = text("""
    SELECT shard, max(version) AS version FROM (
        SELECT shard, version FROM map_bucket
        UNION ALL SELECT shard, version FROM map_sku_range
        UNION ALL SELECT shard, version FROM map_pin
    ) AS given GROUP BY shard
""")
_OWNED = text("SELECT coalesce(max(map_version), 0) FROM ownership")


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The newest map version at which this shard was given a slot: `given` by the catalog's record, `owned` by the
    shard's."""

    shard: str
    given: int
    owned: int

    @property
    def message(self) -> str:
        if self.owned > self.given:
            what = f"the catalog does not know what {self.shard} was given at version {self.owned} of the shard map"
        else:
            what = f"{self.shard} does not know what the catalog gave it at version {self.given} of the shard map"
        return f"{what}, one of them was restored or replaced: run `shardwise migrate`"


async def disagreements(cluster: Cluster) -> Sequence[Disagreement]:
    """One for each shard that disagrees with the catalog. Changes nothing. Raises `Unreachable`."""
    found = await _compare(cluster)
    if not found:
        return []
    await asyncio.sleep(LOOK_AGAIN_SECONDS)
    again = await _compare(cluster)
    return [each for each in again if each in found]


async def _compare(cluster: Cluster) -> list[Disagreement]:
    async def owned_by(shard: Database) -> int:
        async with shard.transaction() as connection:
            return int((await connection.execute(_OWNED)).scalar_one())

    async with cluster.catalog.transaction() as connection:
        given = {row.shard: row.version for row in await connection.execute(_GIVEN)}
    owned = await gather_all(owned_by(shard) for shard in cluster.primaries.values())
    return [
        Disagreement(name, given.get(name, 0), version)
        for name, version in zip(cluster.primaries, owned, strict=True)
        if given.get(name, 0) != version
    ]
