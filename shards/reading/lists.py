"""Lists at or after a point: before the read model is queried, each shard's events must have come as far.

Strong lists stamp all primaries, and then wait for the projection. A transaction that is in doubt hides all later
events of its shard: lists then wait until the time is up, and say so. Single rows need no projection, and go on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.consistency import Level, Point, Points, Session, demanded, lost_session, points_of
from domain.errors import NotAtPoint, ShardwiseError, Unreachable
from domain.histories import Fork, Lineage, Standing
from domain.serving import Lack, ReadModelFacts, Verdict, of_read_model
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.forks import lineage_of
from shards.connections.shard import Shard
from shards.connections.waiting import within
from shards.reading import stamping
from shards.reading.facts import forks_of
from shards.reading.held_session import HeldSession
from shards.reading.served import Served, is_recording, record

WAIT_SECONDS = 10.0
PAUSE_SECONDS_MIN, PAUSE_SECONDS_MAX = 0.002, 0.05
_ANSWER_SECONDS = 1.0

_POSITIONS = text("""
    SELECT shard, CAST(CAST(xid AS text) AS bigint) AS cursor, lsn, forks FROM live.projection_cursor
""")
_HELD_BACK_BY = text("""
    SELECT gid, CAST(extract(epoch FROM clock_timestamp() - prepared) AS bigint) AS seconds
    FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared LIMIT 1
""")


class ListRead:
    """One read of the read model, at a level. `prepare`, then `missing` before the query and `seen` after it, on the
    connection of the query; if something is missing, `pause`, and begin again."""

    def __init__(self, shards: Mapping[str, Shard], level: Level, held: HeldSession | None = None) -> None:
        self._shards = shards
        self._level = level
        self._held = held
        self._points = Points()
        self._asked: set[str] = set()
        self._started = time.monotonic()
        self._pause_seconds = PAUSE_SECONDS_MIN
        self._has_waited = False

    async def prepare(self) -> None:
        """`Unreachable` if a strong list cannot be stamped, since a primary does not answer."""
        if self._held is not None and self._level is not Level.EVENTUAL:
            await stamping.stamp_unknown(self._shards, self._held)
        fresh = await stamping.fresh(self._shards.values()) if self._level is Level.STRONG else Points()
        session = self._held.session if self._held is not None else Session()
        self._points = demanded(self._level, session, fresh)

    async def missing(self, connection: AsyncConnection) -> Mapping[str, Verdict]:
        """Of each shard whose events have not come as far. `SessionLost` where they never will."""
        if not self._points:
            return {}
        lacking = {}
        positions = await _positions(connection)
        for name, points in self._points.by_shard.items():
            position = positions.get(name, _NOTHING_TAKEN)
            verdict = of_read_model(points, position)
            if verdict.is_lost:
                raise lost_session(name, [each for each in points if each.standing(position.lineage) is Standing.LOST])
            if not verdict.is_good:
                lacking[name] = verdict
                await self._ask_for_history(name, verdict)
        if lacking:
            self._has_waited = True
        return lacking

    async def seen(self, connection: AsyncConnection) -> Mapping[str, Verdict]:
        """Stamps what the query can have seen. Returns what is missing if the read model was switched meanwhile to a
        version that lacks it: the query's result is not to be used then."""
        if missing := await self.missing(connection):
            return missing
        if self._held is None and not is_recording():
            return {}
        rows = await connection.execute(_POSITIONS)
        taken = points_of((row.shard, _point(row.forks, row.lsn, row.cursor)) for row in rows if row.forks)
        if self._held is not None:
            self._held.saw(taken)
        waited = time.monotonic() - self._started if self._has_waited else 0.0
        record(Served("read_model", self._level, taken, waited))
        return {}

    async def pause(self, lacking: Mapping[str, Verdict]) -> float:
        """How long to wait before the next attempt. `NotAtPoint`, saying why, if the time is up."""
        if time.monotonic() - self._started < WAIT_SECONDS and any(each.may_come for each in lacking.values()):
            pause = self._pause_seconds
            self._pause_seconds = min(2 * pause, PAUSE_SECONDS_MAX)
            return pause
        raise NotAtPoint([await self._why(name, verdict) for name, verdict in lacking.items()])

    async def _ask_for_history(self, name: str, verdict: Verdict) -> None:
        """Of a fork that the read model does not know the primary knows whether it still exists. Asked once."""
        if name in self._asked or not any(each.lack is Lack.HISTORY for each in verdict.missing):
            return
        self._asked.add(name)
        try:
            of_shard = self._points.of(name)
            found = await within(stamping.stamp(self._shards[name], forks_of(of_shard)), _ANSWER_SECONDS)
        except (KeyError, TimeoutError, ShardwiseError, *DATABASE_ERRORS):
            return  # It may be a primary that has only just started.
        self._points.carried(name, found.lineage)

    async def _why(self, name: str, verdict: Verdict) -> str:
        message = f"for {name} the read model {verdict.why}"
        shard = self._shards.get(name)
        try:
            held_back_by = await within(_held_back_by(shard), _ANSWER_SECONDS) if shard is not None else None
        except (TimeoutError, Unreachable) as error:
            return f"{message}, and {error}" if isinstance(error, Unreachable) else message
        except (ShardwiseError, *DATABASE_ERRORS):
            return message
        return f"{message}: {held_back_by}" if held_back_by else f"{message}: is a worker running?"


async def _positions(connection: AsyncConnection) -> dict[str, ReadModelFacts]:
    rows = await connection.execute(_POSITIONS)
    return {row.shard: ReadModelFacts(lineage_of(row.forks), row.cursor) for row in rows if row.forks}


def _point(forks: object, lsn: int | None, cursor: int) -> Point:
    return Point(lineage_of(forks).current, lsn=lsn or 0, taken=cursor)


# Of a fork that no point has: whatever is demanded may come.
_NOTHING_TAKEN = ReadModelFacts(Lineage([Fork("00000000-0000-0000-0000-000000000000")]), 0)


async def _held_back_by(shard: Shard) -> str | None:
    async with shard.primary.autocommit() as connection:
        row = (await connection.execute(_HELD_BACK_BY)).one_or_none()
    if row is None:
        return None
    return f"transaction {row.gid}, prepared {row.seconds} s ago, has not ended, and hides later events"
