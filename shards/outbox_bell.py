"""The outbox's bell: who committed events rings it, who follows them hears it. Only a hint; polling is behind it.

It is rung in a statement of its own after the commit: a transaction that executed NOTIFY cannot be prepared, and one
that is not prepared would take a server-wide lock for it while it commits. A crash before the ring costs the reader a
poll's delay and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError

CHANNEL = "shardwise_outbox"
# The first ring goes out at once; those that follow it closely are one.
RING_EVERY_SECONDS = 0.05
CLOSE_SECONDS = 1.0

_NOTIFY = text(f"NOTIFY {CHANNEL}")

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class Bell:
    """One shard's, for the writers of one process."""

    def __init__(self, connect: Connect) -> None:
        """`connect` gives a connection in autocommit mode."""
        self._connect = connect
        self._ringing: asyncio.Task[None] | None = None
        self._wanted = False
        self._closing = asyncio.Event()

    def ring(self) -> None:
        """Events were committed. Returns at once, never fails; a ring that is lost costs a poll's delay."""
        self._wanted = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.get_running_loop().create_task(self._ring())

    async def _ring(self) -> None:
        while self._wanted:
            self._wanted = False
            with contextlib.suppress(ShardwiseError, SQLAlchemyError, OSError):
                async with self._connect() as connection:
                    await connection.execute(_NOTIFY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), RING_EVERY_SECONDS)

    async def close(self) -> None:
        """What was rung goes out still, where the server answers soon."""
        self._closing.set()
        if self._ringing is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ringing, CLOSE_SECONDS)
            self._ringing = None


@asynccontextmanager
async def heard(connect: Connect, on_ring: Callable[[], None]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Inside the block `on_ring` is called at each ring. What is yielded asks the connection whether it still is one,
    and raises what it says if not: a server that went away does not tell. Raises `Unreachable`."""

    def listen(*_: Any) -> None:
        on_ring()

    async with connect() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        await driver.add_listener(CHANNEL, listen)

        async def assert_alive() -> None:
            await connection.execute(text("SELECT 1"))

        try:
            yield assert_alive
        finally:
            if not driver.is_closed():
                await driver.remove_listener(CHANNEL, listen)
