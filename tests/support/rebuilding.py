"""A rebuild of the read model, by hand: the pieces that the workflow puts together."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from shards.projection.filling import Filling
from shards.projection.switching import begin, switch
from tests.support.projecting import read
from tests.support.world import World

# The tables that are equal in two equal versions; cursors and progress are not.
CONTENT = (
    "customer",
    "product",
    "stock_level",
    "account_details",
    "statement_line",
    "order_details",
    "order_item",
    "sales",
)


async def begun(world: World) -> str:
    """The id of a rebuild whose `next` is there, empty."""
    rebuild_id = str(uuid.uuid4())
    await begin(world.cluster.read_model, rebuild_id)
    return rebuild_id


def fillings(world: World, rebuild_id: str, chunk_rows: int = 2000) -> Sequence[Filling]:
    shards = world.cluster.primaries.values()
    return [Filling(shard, world.cluster.read_model, rebuild_id, chunk_rows) for shard in shards]


async def fill(world: World, rebuild_id: str, chunk_rows: int = 2000) -> None:
    """Every shard, side by side, to the end."""

    async def one(filling: Filling) -> None:
        await filling.begin()
        while await filling.step():
            pass
        while await filling.follow():
            pass

    await asyncio.gather(*(one(filling) for filling in fillings(world, rebuild_id, chunk_rows)))


async def rebuilt(world: World) -> str:
    """Filled and switched to, without a comparison: the rebuild's id."""
    rebuild_id = await begun(world)
    await fill(world, rebuild_id)
    await switch(world.cluster.read_model, world.cluster.primaries, rebuild_id)
    return rebuild_id


async def content(world: World, version: str = "live") -> dict[str, list[tuple[Any, ...]]]:
    """Every row of a version, by table, in one order."""
    rows = {table: await read(world, f"SELECT * FROM {version}.{table}") for table in CONTENT}
    return {table: sorted(of_table, key=str) for table, of_table in rows.items()}
