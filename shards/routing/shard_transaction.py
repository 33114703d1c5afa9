"""One transaction on the shard that owns a key. Before it commits, the shard checks that it still owns the key."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from sqlalchemy import CursorResult, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError, StaleRoute
from domain.shard_map import Route
from shards.connections.database import Database
from shards.connections.database_errors import DATABASE_ERRORS, translated
from shards.connections.shard import Shard
from shards.routing.fence import is_owned

# One statement ends every write: it checks the fence, stores the step's result and appends the events. It comes after
# the transaction's first write or row lock, as the fence requires.
_FINISH = text(f"""
    WITH not_owned AS (
        SELECT keyspace, slot FROM unnest(CAST(:keyspaces AS text[]), CAST(:slots AS text[])) AS wanted (keyspace, slot)
        WHERE NOT {is_owned(":version")}
    ), kept AS (
        UPDATE barrier SET result = given.result
        FROM jsonb_to_recordset(:results) AS given (saga_id text, step text, result jsonb)
        WHERE barrier.saga_id = given.saga_id AND barrier.step = given.step AND barrier.op = 'do'
    ), appended AS (
        INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
        SELECT :shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload
        FROM jsonb_to_recordset(:events) AS event (
            saga_id text, aggregate text, aggregate_id text, aggregate_version bigint, kind text, payload jsonb
        )
    )
    SELECT keyspace, slot FROM not_owned
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
        """Declares that the write concerns this slot too. `StaleRoute` unless the same map gives it to the same
        shard."""
        if (route.shard, route.version) != (self.route.shard, self.route.version):
            raise StaleRoute(f"{route} does not lie beside {self.route}")
        self._also.append(route)

    def keep_result(self, saga_id: str, step: str, result: object) -> None:
        """Stores the result that the barrier row of this step returns from now on."""
        self._results.append({"saga_id": saga_id, "step": step, "result": result})

    def append_event(self, event: dict[str, Any]) -> None:
        """Adds an event to the outbox, given all columns but the shard: see `shards.outbox.appending`."""
        self._events.append(event)

    @property
    def has_events(self) -> bool:
        return bool(self._events)

    async def finish(self) -> None:
        """Writes the kept results and events. Raises `StaleRoute`, which rolls everything back, if this shard does not
        own the slots at the caller's map version."""
        slots = [self.route, *self._also]
        not_owned = await self.execute(
            _FINISH,
            shard=self.route.shard,
            keyspaces=[route.keyspace for route in slots],
            slots=[route.slot for route in slots],
            version=self.route.version,
            results=self._results,
            events=self._events,
        )
        first = not_owned.first()
        if first is not None:
            version = self.route.version
            raise StaleRoute(f"{self.route.shard} does not own {first.keyspace} {first.slot!r} at version {version}")


@asynccontextmanager
async def write_on(shard: Shard, route: Route, pool: Database | None = None) -> AsyncIterator[ShardTransaction]:
    """One write: finished and committed when the block ends, rolled back when it raises. Raises only errors of ours.
    `pool` is the primary's usual one if none is given."""
    async with read_on(pool or shard.primary, route) as tx:
        yield tx
        await tx.finish()
    if tx.has_events:
        shard.notifier.notify()


@asynccontextmanager
async def read_on(database: Database, route: Route) -> AsyncIterator[ShardTransaction]:
    """One transaction that only reads, and therefore needs no fence."""
    with translating_errors(route.shard):
        async with database.transaction() as connection:
            yield ShardTransaction(connection, route)


@contextmanager
def translating_errors(shard: str) -> Iterator[None]:
    """Only errors of ours leave the block, each with the shard where it happened."""
    try:
        yield
    except DATABASE_ERRORS as error:
        failure = translated(error)
        failure.shard = shard
        raise failure from error
    except ShardwiseError as failure:
        failure.shard = shard
        raise
