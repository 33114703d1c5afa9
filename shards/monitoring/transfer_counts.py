"""Counts the transfers from a shard's accounts by state, incrementally; `watch` needs them every second. Only reads.

Like `order_counts`: all of them once, then only the pending ones, which have an index of their own, and the events of
newly decided ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from domain.transfers import TransferState
from shards.connections.database import Database
from shards.monitoring.event_counts import count_events_since, snapshot_of

_COUNT_ALL = text("SELECT state, count(*) AS n FROM transfer GROUP BY state")
_COUNT_PENDING = text("SELECT count(*) FROM transfer WHERE state = 'pending'")
_DECIDED = {"TransferConfirmed": TransferState.CONFIRMED, "TransferDeclined": TransferState.DECLINED}


@dataclass(frozen=True, slots=True)
class TransferCounts:
    """As of the snapshot `seen`, those of batches included."""

    seen: str
    by_state: Mapping[TransferState, int]


async def count_transfers(shard: Database, before: TransferCounts | None) -> TransferCounts:
    """The counts now; `before`: this shard's previous counts, None the first time. Raises `Unreachable`."""
    async with shard.snapshot() as connection:
        seen = await snapshot_of(connection)
        if before is None:
            counted = await connection.execute(_COUNT_ALL)
            return TransferCounts(seen, {TransferState(row.state): row.n for row in counted})
        pending = (await connection.execute(_COUNT_PENDING)).scalar_one()
        new = await count_events_since(connection, before.seen, list(_DECIDED))
    decided = {state: before.by_state.get(state, 0) + new.get(kind, 0) for kind, state in _DECIDED.items()}
    return TransferCounts(seen, {TransferState.PENDING: pending, **decided})
