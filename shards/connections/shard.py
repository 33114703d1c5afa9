"""One shard: its primary with the usual pool, two small pools that are kept apart from it, and its replicas."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager

from domain.replicas import ReplicaAddress
from shards.connections.database import Database
from shards.connections.notifier import Notifier, listening
from shards.connections.replica import Replica

# Apart from the usual pool, so that ending a prepared transaction never queues behind writers that wait for its locks.
PHASE_TWO_POOL_SIZE = 4
# One connection sends NOTIFY; the read model's consumer and the reactors' consumer listen on one each.
LISTENING_POOL_SIZE = 3


class Shard:
    """One shard of the installation. Each of its pools has a circuit breaker of its own."""

    def __init__(
        self,
        name: str,
        dsn: str,
        pool_size: int,
        connect: Callable[..., Database],
        replicas: Sequence[ReplicaAddress] = (),
    ) -> None:
        """`connect` is a `Database` whose name, address and size of the pool are still to be given, and for a replica
        `replica_of`. Connects to nothing yet."""

        def replica(called: str, at: str) -> Database:
            return connect(called, at, pool_size, replica_of=name)

        self.name = name
        self.primary = connect(name, dsn, pool_size)
        """Where its rows are read and written."""
        self.phase_two = connect(name, dsn, PHASE_TWO_POOL_SIZE)
        """The same primary, for phase two: ending prepared transactions."""
        self.listening = connect(name, dsn, LISTENING_POOL_SIZE)
        """The same primary, for NOTIFY and LISTEN."""
        self.notifier = Notifier(self.listening.autocommit)
        """Notifies the listeners of its outbox that events were committed."""
        self.replicas = [Replica(name, number, address, replica) for number, address in enumerate(replicas, 1)]

    def listen(self, on_notify: Callable[[], None]) -> AbstractAsyncContextManager[Callable[[], Awaitable[None]]]:
        """Inside the block `on_notify` is called when events were committed here: see `listening`."""
        return listening(self.listening.autocommit, on_notify)

    async def close(self) -> None:
        replicas = (replica.close() for replica in self.replicas)
        await asyncio.gather(self.primary.close(), self.phase_two.close(), *replicas)
        # Last: notifications of earlier commits may still be pending.
        await self.notifier.close()
        await self.listening.close()
