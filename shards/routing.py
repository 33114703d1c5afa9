"""From a key to a transaction on the shard that owns it, through a cached map that the shard itself checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import StaleRoute
from domain.shard_map import Route, ShardMap
from shards.engines import Cluster
from shards.map_store import load_map

T = TypeVar("T")

_OWNED = text("""
    SELECT 1 FROM ownership
    WHERE keyspace = :keyspace AND slot = :slot AND state = 'owned' AND map_version <= :version
""")


@dataclass(frozen=True, slots=True)
class ShardTransaction:
    """A transaction on the shard that `route` names."""

    connection: AsyncConnection
    route: Route

    async def execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def assert_owned(self) -> None:
        """Raises `StaleRoute` where this shard does not own the slot at the caller's map version.

        Call it after the transaction's first write or row lock: a transaction that has no transaction id yet is
        invisible to a fence, which would not wait for it.
        """
        route = self.route
        owned = await self.execute(_OWNED, keyspace=route.keyspace, slot=route.slot, version=route.version)
        if owned.first() is None:
            raise StaleRoute(
                f"{route.shard} does not own {route.keyspace} {route.slot!r} at map version {route.version}"
            )


class Router:
    """Runs work on the shard that owns a key. The map is cached: with the catalog away, orders go on."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._map: ShardMap | None = None
        self._loading = asyncio.Lock()

    async def map(self) -> ShardMap:
        return self._map or await self.refreshed(than=0)

    async def refreshed(self, than: int) -> ShardMap:
        """A map newer than version `than` if the catalog has one; asked once however many callers want it."""
        async with self._loading:
            if self._map is None or self._map.version <= than:
                self._map = await load_map(self.cluster.catalog)
            return self._map

    async def write(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        """`work` in one transaction on the owner of the key; once more with a fresh map if ours was stale."""
        shard_map = await self.map()
        try:
            return await self._attempt(route_of(shard_map), work)
        except StaleRoute:
            shard_map = await self.refreshed(than=shard_map.version)
            return await self._attempt(route_of(shard_map), work)

    async def read(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        """Like `write`, for work that only reads and therefore needs no fence."""
        return await self._attempt(route_of(await self.map()), work)

    async def _attempt(self, route: Route, work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        async with self.cluster.shards[route.shard].transaction() as connection:
            return await work(ShardTransaction(connection, route))
