"""What the services reach the installation through: the databases with the map in front of them, and Temporal."""

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
from shards.routing.router import Router
from stack.settings import Databases, Settings, resolve_databases
from stack.temporal_client import connect


@dataclass(frozen=True, slots=True)
class Connections:
    """`await temporal()` connects at its first call: what only reads rows works with Temporal away."""

    cluster: Cluster
    router: Router
    temporal: Callable[[], Awaitable[Client]]

    @property
    def read_model(self) -> ReadModel:
        return ReadModel(self.cluster.read_model)


class Opened:
    """Connections to one installation. Nothing is asked for and connected before it is used, so that bad input is told
    first; `close` ends what is."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._connecting = asyncio.Lock()
        self._client: Client | None = None
        self._closing = AsyncExitStack()
        self._is_closed = False

    @cached_property
    def databases(self) -> Databases:
        """Raises `InvalidInput` or `Unreachable` where the settings name no usable installation."""
        return resolve_databases(self.settings)

    @property
    def usual(self) -> Connections:
        """With the time limits of statements and transactions."""
        self.assert_open()
        return self._usual

    @property
    def without_timeouts(self) -> Connections:
        """Without them: for imports, audits and long reports."""
        self.assert_open()
        return self._without_timeouts

    @cached_property
    def _usual(self) -> Connections:
        return self._connections(long_running=False)

    @cached_property
    def _without_timeouts(self) -> Connections:
        return self._connections(long_running=True)

    def assert_open(self) -> None:
        """`ShardwiseError` with `closed` after `close`."""
        if self._is_closed:
            raise ShardwiseError("closed", "these connections were closed: connect again")

    async def close(self) -> None:
        """For good: what is asked afterwards is `ShardwiseError` with `closed`."""
        self._is_closed = True
        await self._closing.aclose()

    def _connections(self, long_running: bool) -> Connections:
        # Two at least: a bulk import reads the map while it holds its turn in the same catalog.
        pool_size = max(self.settings.pool_size, 2)
        cluster = Cluster(
            self.databases.shards,
            self.databases.catalog,
            self.databases.read_model,
            pool_size,
            long_running,
            # The embedded stack's role is ours: one of an earlier release is its owner until the next `up`.
            no_superuser=self.settings.own_servers,
        )
        self._closing.push_async_callback(cluster.close)
        return Connections(cluster, Router(cluster), self._temporal)

    async def _temporal(self) -> Client:
        self.assert_open()
        async with self._connecting:
            self._client = self._client or await connect(self.settings)
            return self._client


@asynccontextmanager
async def connected(settings: Settings, long_running: bool = False) -> AsyncIterator[Connections]:
    """Closed when the block ends. Raises as `Opened` does."""
    opened = Opened(settings)
    try:
        yield opened.without_timeouts if long_running else opened.usual
    finally:
        await opened.close()
