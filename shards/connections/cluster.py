"""All servers of the installation."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from domain.replicas import ReplicaAddress
from shards.connections.database import Database
from shards.connections.replica import Replica
from shards.connections.shard import Shard


class Cluster:
    """The shards by name, the catalog and the read model."""

    def __init__(
        self,
        shards: Mapping[str, str],
        catalog: str,
        read_model: str,
        pool_size: int = 10,
        long_running: bool = False,
        check_names: bool = True,
        login: str | None = None,
        no_superuser: bool = False,
        replicas: Mapping[str, Sequence[ReplicaAddress]] | None = None,
    ) -> None:
        """DSNs in plain form, `postgresql://user:password@host:port/database`. Connects to nothing yet.

        `check_names` is false for the migration that gives the shards their names. `replicas`: by shard. The other
        arguments are those of a `Database`.
        """
        replicas = replicas or {}
        connect = partial(Database, long_running=long_running, login=login, no_superuser=no_superuser)
        shard = partial(connect, check_name=check_names)
        self.shards = {name: Shard(name, dsn, pool_size, shard, replicas.get(name, ())) for name, dsn in shards.items()}
        self.catalog = connect("catalog", catalog, pool_size)
        self.read_model = connect("read_model", read_model, pool_size)

    @property
    def primaries(self) -> dict[str, Database]:
        """The shards' primaries by the shards' names."""
        return {name: shard.primary for name, shard in self.shards.items()}

    @property
    def replicas(self) -> list[Replica]:
        """Of all shards."""
        return [replica for shard in self.shards.values() for replica in shard.replicas]

    @property
    def databases(self) -> list[Database]:
        """Those that are written to: no replicas."""
        return [*self.primaries.values(), self.catalog, self.read_model]

    async def close(self) -> None:
        shards = (shard.close() for shard in self.shards.values())
        await asyncio.gather(*shards, self.catalog.close(), self.read_model.close())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
