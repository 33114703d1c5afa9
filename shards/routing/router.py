"""From a key to a transaction on the shard that owns it, through a cached map that the shard itself checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from domain.errors import StaleRoute
from domain.shard_map import Route, ShardMap
from shards.connections.cluster import Cluster
from shards.routing.map_store import load_whole_map
from shards.routing.shard_transaction import ShardTransaction, read_on, write_on

T = TypeVar("T")


class Reads(Protocol):
    """Where rows are read from: the primary, as `Router` does, or another server (`shards.reading`)."""

    async def map(self) -> ShardMap: ...

    async def read(
        self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]
    ) -> T: ...


class Router:
    """Runs work on the shard that owns a key. The map is cached, so orders go on while the catalog is away."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._map: ShardMap | None = None
        self._loading = asyncio.Lock()

    async def map(self) -> ShardMap:
        return self._map or await self.refreshed(than=0)

    async def refreshed(self, than: int) -> ShardMap:
        """A map newer than version `than` if the catalog has one. Concurrent callers share one query."""
        async with self._loading:
            if self._map is None or self._map.version <= than:
                self._map = await load_whole_map(self.cluster)
            return self._map

    async def write(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        """Runs `work` in one transaction on the owner of the key; once more with a fresh map if ours was stale."""
        return await self.routed(route_of, lambda route: self._attempt(route, work))

    async def routed(self, route_of: Callable[[ShardMap], Route], attempt: Callable[[Route], Awaitable[T]]) -> T:
        """Calls `attempt` with the key's route; once more with a fresh map if it raises `StaleRoute`."""
        shard_map = await self.map()
        try:
            return await attempt(route_of(shard_map))
        except StaleRoute:
            shard_map = await self.refreshed(than=shard_map.version)
            return await attempt(route_of(shard_map))

    async def read(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        """Like `write`, for work that only reads and therefore needs no fence."""
        route = route_of(await self.map())
        async with read_on(self.cluster.primaries[route.shard], route) as tx:
            return await work(tx)

    async def _attempt(self, route: Route, work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        async with write_on(self.cluster.shards[route.shard], route) as tx:
            return await work(tx)
