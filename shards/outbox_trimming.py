"""Takes away what every consumer has passed, so that the outbox does not grow for ever."""

from __future__ import annotations

import time

from shards.engines import Database
from shards.outbox_cursors import trim
from shards.outbox_lag import slowest_position
from shards.outbox_stretch import Stepped
from shards.routing import failures_on

EVERY_SECONDS = 10.0


class Trimmer:
    """Asked like a consumer, it looks no more often than every ten seconds. See `shards.outbox_cursors.trim`."""

    name = "trimming"

    def __init__(self, shard: Database, read_model: Database, keep_seconds: float) -> None:
        self._shard = shard
        self._read_model = read_model
        self._keep_seconds = keep_seconds
        self._looked_at = -EVERY_SECONDS

    async def step(self) -> Stepped:
        """Answers no events: what is trimmed was counted by who took it."""
        if time.monotonic() - self._looked_at >= EVERY_SECONDS:
            with failures_on(self._shard.name):
                await self._trim()
            self._looked_at = time.monotonic()
        return Stepped(0, False)

    async def _trim(self) -> None:
        below = await slowest_position(self._shard, self._read_model)
        gone = 1
        while below is not None and gone:
            async with self._shard.transaction() as connection:
                gone = await trim(connection, below, self._keep_seconds)
