"""Rebuilds the read model without its workflow, for comparison with it, and after orders were planted."""

from __future__ import annotations

import asyncio
import uuid

from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.projection.filling import Filling
from shards.projection.switching import begin, confirm, switch


async def rebuild_directly(cluster: Cluster) -> None:
    """Fills a new version, switches to it and confirms; compares nothing. All shards at once, as in the workflow."""
    rebuild_id = str(uuid.uuid4())
    await begin(cluster.read_model, rebuild_id)

    async def fill(shard: Database) -> None:
        filling = Filling(shard, cluster.read_model, rebuild_id)
        await filling.begin()
        while await filling.step() or await filling.follow():
            pass

    await asyncio.gather(*(fill(shard) for shard in cluster.primaries.values()))
    await switch(cluster.read_model, cluster.primaries, rebuild_id)
    await confirm(cluster.read_model)
