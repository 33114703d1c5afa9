"""The services' connections to an installation: the databases, routed by the shard map, and Temporal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property

from temporalio.client import Client

from domain.errors import ShardwiseError
from shards.connections.cluster import Cluster
from shards.read_model.read_model import ReadModel
from shards.reading.shard_reads import ReadSettings, ShardReads
from shards.routing.router import Router
from stack.settings import Databases, Settings, resolve_databases
from stack.temporal_client import connect


@dataclass(frozen=True, slots=True)
class Connections:
    """`await temporal()` connects at its first call: what only reads rows works while Temporal is down."""

    cluster: Cluster
    router: Router
    reads: ShardReads
    temporal: Callable[[], Awaitable[Client]]

    @property
    def read_model(self) -> ReadModel:
        return ReadModel(self.cluster.read_model)


class Installation:
    """One installation: its settings, and connections that are made when they are first used, so that bad input is
    reported first. `close` closes them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._closing = AsyncExitStack()
        self._is_closed = False

    @cached_property
    def databases(self) -> Databases:
        """Raises `InvalidInput` or `Unreachable` if the settings name no usable installation."""
        return resolve_databases(self.settings)

    @property
    def with_timeouts(self) -> Connections:
        """With time limits for statements and transactions: the usual ones."""
        self.assert_open()
        return self._with_timeouts

    @property
    def without_timeouts(self) -> Connections:
        """Without time limits: for imports, audits and long reports."""
        self.assert_open()
        return self._without_timeouts

    @cached_property
    def _with_timeouts(self) -> Connections:
        return self._connections(long_running=False)

    @cached_property
    def _without_timeouts(self) -> Connections:
        return self._connections(long_running=True)

    def assert_open(self) -> None:
        """`ShardwiseError` with `closed` after `close`."""
        if self._is_closed:
            raise ShardwiseError("closed", "these connections were closed: connect again")

    async def close(self) -> None:
        """For good: any later use raises `ShardwiseError` with `closed`."""
        self._is_closed = True
        await self._closing.aclose()

    def _connections(self, long_running: bool) -> Connections:
        # Two at least: a bulk import reads the map while its lock holds another connection to the catalog.
        pool_size = max(self.settings.pool_size, 2)
        cluster = Cluster(
            self.databases.shards,
            self.databases.catalog,
            self.databases.read_model,
            pool_size,
            long_running,
            # Not checked for the embedded stack: until the next `up`, a stack of an earlier release uses its owner.
            no_superuser=self.settings.own_servers,
            replicas=self.databases.replicas,
        )
        self._closing.push_async_callback(cluster.close)
        router = Router(cluster)
        chosen = self.settings
        how = ReadSettings(chosen.balancing, chosen.replica_lag_bytes_max, chosen.read_wait_seconds)
        reads = ShardReads(router, how)
        self._closing.push_async_callback(reads.close)
        return Connections(cluster, router, reads, self._temporal)

    async def _temporal(self) -> Client:
        self.assert_open()
        async with self._connecting:
            self._client = self._client or await connect(self.settings)
            return self._client


@asynccontextmanager
async def connected(settings: Settings, long_running: bool = False) -> AsyncIterator[Connections]:
    """Closed when the block ends. Raises as `Installation` does."""
    installation = Installation(settings)
    try:
        yield installation.without_timeouts if long_running else installation.with_timeouts
    finally:
        await installation.close()
