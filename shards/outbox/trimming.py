"""Deletes events that every consumer has passed, so that the outbox does not grow for ever."""

from __future__ import annotations

import time

from shards.connections.database import Database
from shards.outbox.cursors import REACTORS, read_position, trim
from shards.outbox.lag import lost_versions, positions_in
from shards.outbox.marks import forget_marks
from shards.outbox.slice import Taken
from shards.routing.shard_transaction import translating_errors
from shards.tables.versions import Version

EVERY_SECONDS = 10.0


class Trimmer:
    """Called like a consumer, but trims at most every ten seconds. See `shards.outbox.cursors.trim`."""

    name = "trimming"

    def __init__(self, shard: Database, read_model: Database, keep_seconds: float) -> None:
        self._shard = shard
        self._read_model = read_model
        self._keep_seconds = keep_seconds
        self._looked_at = -EVERY_SECONDS

    async def take_next(self) -> Taken:
        """Reports no events: those that it trims were counted by the consumers."""
        if time.monotonic() - self._looked_at >= EVERY_SECONDS:
            with translating_errors(self._shard.name):
                await self._trim()
            self._looked_at = time.monotonic()
        return Taken(0, False)

    async def _trim(self) -> None:
        below = await slowest_position(self._shard, self._read_model)
        if below is None:
            return
        async with self._read_model.transaction() as connection:
            readers = [position.reader for position in (await positions_in(connection, self._shard.name)).values()]
        async with self._shard.transaction() as connection:
            await forget_marks(connection, readers)
        gone = 1
        while gone:
            async with self._shard.transaction() as connection:
                gone = await trim(connection, below, self._keep_seconds)


async def slowest_position(shard: Database, read_model: Database) -> str | None:
    """The position below which every consumer has taken everything. Raises `Unreachable`.

    None if a consumer has not begun, or if its position is of another history of the shard, since it is then unknown
    what it has taken. A `retired` version of another history does not count: it can never take these events.
    """
    lost = await lost_versions(shard, read_model)
    async with read_model.transaction() as connection:
        positions = await positions_in(connection, shard.name)
    if Version.LIVE not in positions or set(lost) - {Version.RETIRED}:
        return None
    async with shard.transaction() as connection:
        reactors = await read_position(connection, REACTORS)
    return min([reactors, *(each.xid for version, each in positions.items() if version not in lost)], key=int)
