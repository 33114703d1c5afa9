"""How far the followers of an outbox are behind, measured against what is written and not against what can be read.

A transaction that stays open, a prepared one above all, hides everything behind it: measured against the horizon, its
followers would be told as being up to date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.engines import Database
from shards.horizon import look_from
from shards.outbox_cursors import REACTORS, read_position
from shards.projection.versions import Version, existing

_POSITION = "SELECT CAST(xid AS text) FROM {s}.projection_cursor WHERE shard = :shard"
_LAG = text("""
    SELECT consumer, count(outbox.id) AS events, extract(epoch FROM clock_timestamp() - min(created_at)) AS seconds
    FROM unnest(CAST(:consumers AS text[]), CAST(:positions AS text[])) AS of (consumer, position)
    LEFT JOIN outbox ON outbox.xid >= CAST(of.position AS xid8)
    GROUP BY consumer
""")


@dataclass(frozen=True, slots=True)
class Lag:
    """`events` written and not taken yet; `seconds` since the oldest of them was written, by the shard's clock."""

    events: int
    seconds: float


@dataclass(frozen=True, slots=True)
class ShardLag:
    """`by_consumer`: a version of the read model, or `reactors`. `hidden_events`, counted in all of them, wait for a
    transaction that is open still."""

    shard: str
    by_consumer: Mapping[str, Lag]
    hidden_events: int


async def positions_in(connection: AsyncConnection, shard: str) -> dict[str, str]:
    """Where each version of the read model stands with this shard; not those that are not filled from it."""
    positions = {}
    for version in await existing(connection):
        statement = text(_POSITION.replace("{s}", version.value))
        position = (await connection.execute(statement, {"shard": shard})).scalar_one_or_none()
        if position is not None:
            positions[version.value] = str(position)
    return positions


async def slowest_position(shard: Database, read_model: Database) -> str | None:
    """Everything below has been taken by everybody; None where somebody has not begun. Raises `Unreachable`."""
    async with read_model.transaction() as connection:
        positions = await positions_in(connection, shard.name)
    if Version.LIVE not in positions:
        return None
    async with shard.transaction() as connection:
        positions[REACTORS] = await read_position(connection, REACTORS)
    return min(positions.values(), key=int)


async def lag_of(shard: Database, read_model: Database) -> ShardLag:
    """Raises `Unreachable`. A version that has not begun has every event before it."""
    async with read_model.transaction() as connection:
        positions = {Version.LIVE.value: "0"} | await positions_in(connection, shard.name)
    async with shard.transaction() as connection:
        positions[REACTORS] = await read_position(connection, REACTORS)
        about = {"consumers": list(positions), "positions": list(positions.values())}
        lags = {row.consumer: Lag(row.events, float(row.seconds or 0)) for row in await connection.execute(_LAG, about)}
        hidden = (await look_from(connection)).hidden_events
    return ShardLag(shard.name, {name: lags[name] for name in positions}, hidden)
