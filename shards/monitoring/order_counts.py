"""Counts a shard's orders by state, incrementally; `watch` needs them every second. Only reads.

Counting final orders scans the whole table (400,000 rows: 57 ms on two cores), so that is done once. Afterwards the
changes between two snapshots come from the outbox, of which only new events are read (0.02 ms): see `event_counts`.
Unfinished orders have an index of their own and are counted each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.money import Money
from domain.orders import FINAL_STATES, OrderState
from shards.connections.database import Database
from shards.monitoring.event_counts import count_events_since, snapshot_of

_COUNT_ALL = text("SELECT state, count(*) AS n FROM orders GROUP BY state")
_COUNT_UNFINISHED = text("""
    SELECT state, count(*) AS n FROM orders WHERE state IN ('pending', 'aborting') GROUP BY state
""")
_OLDEST_HOLD = text("""
    SELECT hold.saga_id, hold.account_id, hold.amount, account.currency, hold.created_at,
           extract(epoch FROM clock_timestamp() - hold.created_at) AS age
    FROM hold JOIN account ON account.id = hold.account_id
    WHERE hold.state = 'placed' ORDER BY hold.created_at LIMIT 1
""")
_PLACED = "OrderPlaced"
_ENDS_IN = {
    "OrderConfirmed": OrderState.CONFIRMED,
    "OrderRejected": OrderState.REJECTED,
    "OrderCancelled": OrderState.CANCELLED,
}


@dataclass(frozen=True, slots=True)
class OpenHold:
    """`age_seconds` by the shard's own clock."""

    saga_id: str
    account_id: str
    amount: Money
    shard: str
    placed_at: datetime
    age_seconds: float


@dataclass(frozen=True, slots=True)
class OrderCounts:
    """As of the snapshot `seen`. `placed` and `finished` count since the first call."""

    seen: str
    by_state: Mapping[OrderState, int]
    placed: int
    finished: int
    oldest_hold: OpenHold | None


async def count_orders(shard: Database, before: OrderCounts | None) -> OrderCounts:
    """The counts now; `before`: this shard's previous counts, None the first time. Raises `Unreachable`."""
    async with shard.snapshot() as connection:
        seen = await snapshot_of(connection)
        oldest = await _oldest_hold(connection, shard.name)
        if before is None:
            counted = await connection.execute(_COUNT_ALL)
            return OrderCounts(seen, {OrderState(row.state): row.n for row in counted}, 0, 0, oldest)
        unfinished = {OrderState(row.state): row.n for row in await connection.execute(_COUNT_UNFINISHED)}
        new = await count_events_since(connection, before.seen, [_PLACED, *_ENDS_IN])
    ended = {state: new.get(kind, 0) for kind, state in _ENDS_IN.items()}
    final = {state: before.by_state.get(state, 0) + ended[state] for state in FINAL_STATES}
    finished = before.finished + sum(ended.values())
    return OrderCounts(seen, final | unfinished, before.placed + new.get(_PLACED, 0), finished, oldest)


async def _oldest_hold(connection: AsyncConnection, shard: str) -> OpenHold | None:
    row = (await connection.execute(_OLDEST_HOLD)).one_or_none()
    if row is None:
        return None
    amount = Money(row.amount, row.currency)
    return OpenHold(row.saga_id, row.account_id, amount, shard, row.created_at, float(row.age))
