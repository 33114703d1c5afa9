"""One shard: its primary, and the connections that are kept apart from the usual ones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from shards.connections.database import Database
from shards.connections.notifier import Notifier, listening

# Beside the usual pool, so that what ends a prepared transaction never waits behind what waits for its locks.
PHASE_TWO_POOL_SIZE = 4
# One connection notifies; on one each the read model's follower and the reactors' listen.
LISTENING_POOL_SIZE = 3


class Shard:
    """One shard of the installation. Each of its pools has a circuit breaker of its own."""

    def __init__(
        self,
        name: str,
        dsn: str,
        pool_size: int = 10,
        long_running: bool = False,
        ask_name: bool = False,
        login: str | None = None,
        no_superuser: bool = False,
    ) -> None:
        """The arguments are those of a `Database`. Connects to nothing yet."""

        def pool(size: int) -> Database:
            return Database(name, dsn, size, long_running, ask_name, login, no_superuser)

        self.name = name
        self.primary = pool(pool_size)
        """Where its rows are read and written."""
        self.phase_two = pool(PHASE_TWO_POOL_SIZE)
        """The primary too, for what ends prepared transactions."""
        self.listening = pool(LISTENING_POOL_SIZE)
        """The primary too, for NOTIFY and LISTEN."""
        self.notifier = Notifier(self.listening.autocommit)
        """Tells the listeners of its outbox that events were committed."""

    def listen(self, on_notify: Callable[[], None]) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """Inside the block `on_notify` is called when events were committed here: see `listening`."""
        return listening(self.listening.autocommit, on_notify)

    async def close(self) -> None:
        await asyncio.gather(self.primary.close(), self.phase_two.close())
        # Last, since what was written until now is still to be notified.
        await self.notifier.close()
        await self.listening.close()
