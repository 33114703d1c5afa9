"""What commands reach the installation through: the databases, the map in front of them, and Temporal if asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from temporalio.client import Client

from cli.hints import hinting_at_up
from shards.engines import Cluster
from shards.queries.read_model import ReadModel
from shards.routing import Router
from stack.settings import Settings, resolve_databases
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


@asynccontextmanager
async def connected(settings: Settings, long_running: bool = False) -> AsyncIterator[Connections]:
    """Closed when the block ends. Nothing is connected before it is used.

    `long_running` lifts the time limits of statements and transactions, for bulk imports and audits. Raises
    `InvalidInput` or `Unreachable` where the settings name no usable installation.
    """
    databases = resolve_databases(settings)
    connecting = asyncio.Lock()
    client: Client | None = None

    async def temporal() -> Client:
        nonlocal client
        async with connecting:
            client = client or await connect(settings)
            return client

    # Two at least: a bulk import reads the map while it holds its turn in the same catalog.
    pool_size = max(settings.pool_size, 2)
    cluster = Cluster(
        databases.shards,
        databases.catalog,
        databases.read_model,
        pool_size,
        long_running,
        # The embedded stack's role is ours: one of an earlier release is its owner until the next `up`.
        no_superuser=settings.own_servers,
    )
    async with cluster:
        with hinting_at_up(settings):
            yield Connections(cluster, Router(cluster), temporal)
