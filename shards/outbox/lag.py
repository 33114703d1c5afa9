"""How far the consumers of an outbox are behind, counted from the events that are written, not from those in sight.

A transaction that stays open, above all a prepared one, hides all later events: measured against the horizon, the
consumers would seem to be up to date.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.connections.database import Database
from shards.outbox.cursors import REACTORS, read_position, trimmed_to
from shards.outbox.horizon import read_horizon_on
from shards.outbox.marks import read_mark
from shards.outbox.slice import BEGINNING
from shards.tables.versions import Version, existing

_POSITION = "SELECT CAST(xid AS text) AS xid, reader, mark FROM {s}.projection_cursor WHERE shard = :shard"
_LAG = text("""
    SELECT consumer, count(outbox.id) AS events, extract(epoch FROM clock_timestamp() - min(created_at)) AS seconds
    FROM unnest(CAST(:consumers AS text[]), CAST(:positions AS text[])) AS of (consumer, position)
    LEFT JOIN outbox ON outbox.xid >= CAST(of.position AS xid8)
    GROUP BY consumer
""")


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a version of the read model in a shard's outbox, and the mark on the shard that vouches for
    it."""

    xid: str
    reader: str
    mark: str | None


@dataclass(frozen=True, slots=True)
class Lag:
    """`events` from `position` on are written and not taken yet; `seconds` is the age of the oldest of them by the
    shard's clock. `is_lost`: the position is of another history than the shard's, so all its events count as not
    taken."""

    position: str
    events: int
    seconds: float
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class ShardLag:
    """The keys of `by_consumer` are versions of the read model, and `reactors`. Each lag includes the `hidden_events`,
    which wait for an open transaction to end. Events up to the position `trimmed` may be gone."""

    shard: str
    by_consumer: Mapping[str, Lag]
    hidden_events: int
    trimmed: str


async def positions_in(connection: AsyncConnection, shard: str) -> dict[Version, Position]:
    """The position of each version of the read model in this shard's outbox, if it has one."""
    positions = {}
    for version in await existing(connection):
        statement = text(_POSITION.replace("{s}", version.value))
        row = (await connection.execute(statement, {"shard": shard})).one_or_none()
        if row is not None:
            positions[version] = Position(*row)
    return positions


async def lost_versions(shard: Database, read_model: Database) -> Collection[Version]:
    """The versions whose position is of another history than the shard's. Raises `Unreachable`.

    Marks move while they are read, so a position counts as lost only if it is the same before and after the shard was
    queried.
    """
    lost: set[Version] = set()
    stored = await _positions(shard, read_model)
    while stored:
        async with shard.transaction() as connection:
            missing = {
                version: position
                for version, position in stored.items()
                if not (await read_mark(connection, position.reader)).vouches_for(position.mark)
            }
        now = await _positions(shard, read_model) if missing else {}
        lost |= {version for version, position in missing.items() if now.get(version) == position}
        stored = {version: now[version] for version in missing if version in now and version not in lost}
    return lost


async def _positions(shard: Database, read_model: Database) -> dict[Version, Position]:
    async with read_model.transaction() as connection:
        return await positions_in(connection, shard.name)


async def lag_of(shard: Database, read_model: Database) -> ShardLag:
    """Raises `Unreachable`. For a version that has not begun, all events count."""
    lost = await lost_versions(shard, read_model)
    stored = await _positions(shard, read_model)
    positions = {Version.LIVE.value: BEGINNING}
    positions |= {each.value: BEGINNING if each in lost else stored[each].xid for each in stored}
    async with shard.transaction() as connection:
        positions[REACTORS] = await read_position(connection, REACTORS)
        about = {"consumers": list(positions), "positions": list(positions.values())}
        found = {row.consumer: row for row in await connection.execute(_LAG, about)}
        hidden = (await read_horizon_on(connection)).hidden_events
        trimmed = await trimmed_to(connection)
    lags = {
        name: Lag(position, found[name].events, float(found[name].seconds or 0), is_lost=name in lost)
        for name, position in positions.items()
    }
    return ShardLag(shard.name, lags, hidden, trimmed)
