"""One transaction for many rows of one shard: each statement takes the whole batch, so 10,000 rows need a few calls."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import CursorResult, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import StaleRoute
from domain.events import Event, aggregate_of
from domain.shard_map import Route
from shards.connections.shard import Shard
from shards.routing.fence import is_owned
from shards.routing.shard_transaction import translating_errors

# Every row here is found by its key. A cached plan from when the table was empty, including that of a foreign key's
# check, would go on scanning the whole table while the batch fills it.
_BY_KEY = text("SELECT set_config('enable_seqscan', 'off', true)")
# Only for reads: otherwise a foreign key's check is planned anew for each row, which costs more than the check.
_PLAN_EACH = text("SELECT set_config('plan_cache_mode', 'force_custom_plan', true)")
_NOT_OWNED = text(f"""
    SELECT keyspace, slot
    FROM unnest(CAST(:keyspaces AS text[]), CAST(:slots AS text[]), CAST(:versions AS bigint[]))
        AS wanted (keyspace, slot, version)
    WHERE NOT {is_owned("wanted.version")}
""")
_APPEND = text("""
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    SELECT :origin_shard, saga_id, aggregate, aggregate_id, 1, kind, CAST(payload AS jsonb)
    FROM unnest(CAST(:saga_ids AS text[]), CAST(:aggregates AS text[]), CAST(:aggregate_ids AS text[]),
                CAST(:kinds AS text[]), CAST(:payloads AS text[]))
        AS event (saga_id, aggregate, aggregate_id, kind, payload)
""")


@dataclass(frozen=True, slots=True)
class FirstEvent:
    """The event that begins an aggregate: its version 1."""

    saga_id: str
    event: Event
    aggregate_id: str
    payload: dict[str, Any]


def array_literal(values: Iterable[object]) -> str:
    """Any values as the literal of a Postgres array, for a parameter that `text_array` or `bigint_array` reads.

    Passing a list is slower: the driver examines each element several times, which for a large array costs more than
    the statement.
    """
    quoted = [str(value).replace("\\", "\\\\").replace('"', '\\"') for value in values]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"


def text_array(name: str) -> str:
    """SQL that reads the parameter `name`, an `array_literal`, as `text[]`."""
    return f"CAST(CAST(:{name} AS text) AS text[])"


def bigint_array(name: str) -> str:
    """The same as `bigint[]`."""
    return f"CAST(CAST(:{name} AS text) AS bigint[])"


@dataclass(frozen=True, slots=True)
class BulkTransaction:
    """A transaction on `shard` about keys of many slots. A `ShardTransaction` is about one."""

    connection: AsyncConnection
    shard: str

    async def execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]:
        return await self.connection.execute(statement, parameters)

    async def plan_each_time(self) -> None:
        """For joins of whole pages: the tables grow while a batch runs. Do not call it before a write."""
        await self.execute(_PLAN_EACH)

    async def assert_owned(self, routes: Iterable[Route]) -> None:
        """Raises `StaleRoute` unless this shard owns all the slots at the caller's map version.

        Call it after the transaction's first write: see `shards.routing.fence`.
        """
        slots = {(route.keyspace, route.slot): route.version for route in routes}
        lost = await self.execute(
            _NOT_OWNED,
            keyspaces=[keyspace for keyspace, _ in slots],
            slots=[slot for _, slot in slots],
            versions=list(slots.values()),
        )
        row = lost.first()
        if row is not None:
            raise StaleRoute(f"{self.shard} does not own {row.keyspace} {row.slot!r} at the caller's map version")

    async def append_events(self, events: Sequence[FirstEvent]) -> None:
        """Adds the events to the outbox, in this order."""
        await self.execute(
            _APPEND,
            origin_shard=self.shard,
            saga_ids=[event.saga_id for event in events],
            aggregates=[aggregate_of(each.event) for each in events],
            aggregate_ids=[event.aggregate_id for event in events],
            kinds=[each.event for each in events],
            payloads=[json.dumps(event.payload) for event in events],
        )


@asynccontextmanager
async def bulk_on(shard: Shard) -> AsyncIterator[BulkTransaction]:
    """One transaction of a few large statements: committed when the block ends, rolled back when it raises. Raises only
    errors of ours."""
    with translating_errors(shard.name):
        async with shard.primary.transaction() as connection:
            await connection.execute(_BY_KEY)
            yield BulkTransaction(connection, shard.name)
    shard.notifier.notify()
