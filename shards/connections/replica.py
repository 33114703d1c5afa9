"""One replica of a shard: a pool with a circuit breaker of its own, opened when it is first used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from domain.replicas import ReplicaAddress, replica_name
from shards.connections.database import Database


class Replica:
    """Whether it may be read from is for `shards.connections.replica_state` to say: that it answers is not enough."""

    def __init__(
        self, shard: str, number: int, address: ReplicaAddress, connect: Callable[[str, str], Database]
    ) -> None:
        """`connect`: from name and address, the database. Connects to nothing yet."""
        self.shard = shard
        self.name = replica_name(shard, number)
        self.weight = address.weight
        self._dsn = address.dsn
        self._connect = connect

    @cached_property
    def database(self) -> Database:
        """Read only. At its first use it is checked that it is this shard's."""
        return self._connect(self.name, self._dsn)

    async def close(self) -> None:
        if "database" in self.__dict__:
            await self.database.close()
