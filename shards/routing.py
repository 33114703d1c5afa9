"""From a key to a transaction on the shard that owns it, through a cached map that the shard itself checks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import CursorResult, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError, StaleRoute
from domain.shard_map import Route, ShardMap
from shards.engines import Cluster, Database
from shards.integrity import DATABASE_ERRORS, told
from shards.map_store import load_whole_map

T = TypeVar("T")

# One statement ends every write: are the slots still ours, the step's stored result, the events. It comes after the
# transaction's first write or row lock, as the fence demands: a transaction that has no transaction id yet is
# invisible to a fence, which would not wait for it.
_FINISH = text("""
    WITH strange AS (
        SELECT keyspace, slot FROM unnest(CAST(:keyspaces AS text[]), CAST(:slots AS text[])) AS wanted (keyspace, slot)
        WHERE NOT EXISTS (
            SELECT FROM ownership AS o WHERE o.keyspace = wanted.keyspace AND o.slot = wanted.slot
                AND o.state = 'owned' AND o.map_version <= :version
        )
    ), kept AS (
        UPDATE barrier SET result = given.result
        FROM jsonb_to_recordset(:results) AS given (saga_id text, step text, result jsonb)
        WHERE barrier.saga_id = given.saga_id AND barrier.step = given.step AND barrier.op = 'do'
    ), told AS (
        INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
        SELECT :shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload
        FROM jsonb_to_recordset(:events) AS event (
            saga_id text, aggregate text, aggregate_id text, aggregate_version bigint, kind text, payload jsonb
        )
    )
    SELECT keyspace, slot FROM strange
""").bindparams(bindparam("results", type_=JSONB), bindparam("events", type_=JSONB))


class ShardTransaction:
    """A write on the shard that `route` names. Ended by `finish`, which `write_on` calls."""

    __slots__ = ("_also", "_events", "_results", "connection", "route")

    def __init__(self, connection: AsyncConnection, route: Route) -> None:
        self.connection = connection
        self.route = route
        self._also: list[Route] = []
        self._events: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    async def execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    def also_on(self, route: Route) -> None:
        """The write is about this slot too, which must then be the same shard's, by the same map."""
        if (route.shard, route.version) != (self.route.shard, self.route.version):
            raise StaleRoute(f"{route} does not lie beside {self.route}")
        self._also.append(route)

    def keep_result(self, saga_id: str, step: str, result: object) -> None:
        """What the barrier row of this step will answer from now on."""
        self._results.append({"saga_id": saga_id, "step": step, "result": result})

    def tell(self, event: dict[str, Any]) -> None:
        """An event for the outbox, with all its columns but the shard: see `shards.outbox.append`."""
        self._events.append(event)

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    async def finish(self) -> None:
        """Writes what was kept and told. Raises `StaleRoute`, so that all is rolled back, where this shard does not
        own the slot at the caller's map version."""
        slots = [self.route, *self._also]
        strange = await self.execute(
            _FINISH,
            shard=self.route.shard,
            keyspaces=[route.keyspace for route in slots],
            slots=[route.slot for route in slots],
            version=self.route.version,
            results=self._results,
            events=self._events,
        )
        first = strange.first()
        if first is not None:
            version = self.route.version
            raise StaleRoute(f"{self.route.shard} does not own {first.keyspace} {first.slot!r} at version {version}")


@asynccontextmanager
async def write_on(database: Database, route: Route) -> AsyncIterator[ShardTransaction]:
    """One write: finished and committed when the block ends, rolled back when it raises. Raises errors of ours."""
    async with _read_on(database, route) as tx:
        yield tx
        await tx.finish()
    if tx.has_events:
        database.bell.ring()


@asynccontextmanager
async def _read_on(database: Database, route: Route) -> AsyncIterator[ShardTransaction]:
    with failures_on(route.shard):
        async with database.transaction() as connection:
            yield ShardTransaction(connection, route)


@contextmanager
def failures_on(shard: str) -> Iterator[None]:
    """Only errors of ours leave the block, with the shard where they happened."""
    try:
        yield
    except DATABASE_ERRORS as error:
        failure = told(error)
        failure.shard = shard
        raise failure from error
    except ShardwiseError as failure:
        failure.shard = shard
        raise


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
                self._map = await load_whole_map(self.cluster)
            return self._map

    async def write(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        """`work` in one transaction on the owner of the key; once more with a fresh map if ours was stale."""
        return await self.routed(route_of, lambda route: self._attempt(route, work))

    async def routed(self, route_of: Callable[[ShardMap], Route], attempt: Callable[[Route], Awaitable[T]]) -> T:
        """`attempt` where the key lives; once more by a fresh map where that raises `StaleRoute`."""
        shard_map = await self.map()
        try:
            return await attempt(route_of(shard_map))
        except StaleRoute:
            shard_map = await self.refreshed(than=shard_map.version)
            return await attempt(route_of(shard_map))

    async def read(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        """Like `write`, for work that only reads and therefore needs no fence."""
        route = route_of(await self.map())
        async with _read_on(self.cluster.shards[route.shard], route) as tx:
            return await work(tx)

    async def _attempt(self, route: Route, work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        async with write_on(self.cluster.shards[route.shard], route) as tx:
            return await work(tx)
