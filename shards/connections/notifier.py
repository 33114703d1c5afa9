"""Wakes the readers of a shard's outbox after a commit, by NOTIFY and LISTEN. Only a hint: they poll as well.

NOTIFY is a statement of its own after the commit: a transaction that executed NOTIFY cannot be prepared, and an
ordinary one would take a server-wide lock while it commits. A crash before the NOTIFY costs the readers one poll
interval, nothing else.
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
# The first notification is sent at once; those that follow within this time are sent as one.
NOTIFY_EVERY_SECONDS = 0.05
CLOSE_SECONDS = 1.0

_NOTIFY = text(f"NOTIFY {CHANNEL}")

Connect = Callable[[], AbstractAsyncContextManager[AsyncConnection]]


class Notifier:
    """Sends the notifications of one shard, for all writers in this process."""

    def __init__(self, connect: Connect) -> None:
        """`connect` gives a connection in autocommit mode."""
        self._connect = connect
        self._sending: asyncio.Task[None] | None = None
        self._wanted = False
        self._closing = asyncio.Event()

    def notify(self) -> None:
        """Events were committed. Returns at once and never fails; a lost notification costs one poll interval."""
        self._wanted = True
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())

    async def _send(self) -> None:
        while self._wanted:
            self._wanted = False
            with contextlib.suppress(ShardwiseError, SQLAlchemyError, OSError):
                async with self._connect() as connection:
                    await connection.execute(_NOTIFY)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), NOTIFY_EVERY_SECONDS)

    async def close(self) -> None:
        """Sends a notification that is still pending, if the server answers soon."""
        self._closing.set()
        if self._sending is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._sending, CLOSE_SECONDS)
            self._sending = None


@asynccontextmanager
async def listening(connect: Connect, on_notify: Callable[[], None]) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Inside the block `on_notify` is called at each notification. Raises `Unreachable`.

    The yielded function sends a query over the same connection and raises if that is lost. Call it now and then: a
    connection that only listens does not notice that its server is gone.
    """

    def listen(*_: Any) -> None:
        on_notify()

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
