"""A world whose one shard is on a server of its own, which can be set back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from shards.connections.cluster import Cluster
from shards.outbox.lag import lost_versions
from shards.projection.projector import Projector
from shards.tables.versions import Version
from stack.settings import Databases
from tests.support.postgres import lasting_databases
from tests.support.restoring import RestoredServer
from tests.support.world import World

SHARD = "shard-2"


@dataclass
class RestorableWorld:
    world: World
    server: RestoredServer
    databases: Databases
    opened: AsyncExitStack

    async def reopened(self, databases: Databases | None = None) -> World:
        """The same world by new connections."""
        self.databases = databases or self.databases
        self.world = World(await self.opened.enter_async_context(_cluster(self.databases)))
        return self.world

    @property
    def projector(self) -> Projector:
        return Projector(self.world.cluster.primaries[SHARD], self.world.cluster.read_model)

    async def lost(self) -> set[Version]:
        cluster = self.world.cluster
        return set(await lost_versions(cluster.primaries[SHARD], cluster.read_model))


@asynccontextmanager
async def restorable_world(
    admin: str, templates: Mapping[str, str], server: RestoredServer
) -> AsyncIterator[RestorableWorld]:
    async with lasting_databases(admin, templates) as made, AsyncExitStack() as opened:
        databases = await server.new_shard(made, SHARD)
        world = World(await opened.enter_async_context(_cluster(databases)))
        await world.open_shop()
        yield RestorableWorld(world, server, databases, opened)


def _cluster(databases: Databases) -> Cluster:
    return Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=8)
