"""Parked events of consumers that keep their position on the shard: events that could not be taken, with the reason.

Others call them dead letters. The consumer goes on with everything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.outbox.parked_keys import parked_key

_PARK = text("""
    INSERT INTO parked_event (consumer, aggregate, aggregate_id, aggregate_version, kind, reason)
    VALUES (:consumer, :aggregate, :aggregate_id, :aggregate_version, :kind, :reason)
    ON CONFLICT (consumer, aggregate, aggregate_id, aggregate_version) DO UPDATE
    SET reason = excluded.reason, parked_at = now()
""")
_UNPARK = text("""
    DELETE FROM parked_event WHERE consumer = :consumer AND aggregate = :aggregate AND aggregate_id = :aggregate_id
        AND aggregate_version = :aggregate_version
""")
_LIST_PARKED = text("""
    SELECT aggregate, aggregate_id, aggregate_version, kind, reason, parked_at FROM parked_event
    WHERE consumer = :consumer AND (parked_at, aggregate, aggregate_id, aggregate_version)
        > (coalesce(CAST(:at AS timestamptz), '-infinity'), :aggregate, :aggregate_id, :aggregate_version)
    ORDER BY parked_at, aggregate, aggregate_id, aggregate_version LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    aggregate: str
    aggregate_id: str
    version: int
    kind: str
    reason: str
    parked_at: datetime


async def park(connection: AsyncConnection, consumer: str, event: Any, reason: str) -> None:
    """Parks one event with the reason why it could not be taken. Idempotent by the event's version. Undone by
    `unpark`."""
    await connection.execute(
        _PARK,
        {
            "consumer": consumer,
            "aggregate": event.aggregate,
            "aggregate_id": parked_key(event.aggregate_id),
            "aggregate_version": event.version,
            "kind": event.kind,
            "reason": reason,
        },
    )


async def unpark(connection: AsyncConnection, consumer: str, event: ParkedEvent) -> None:
    key = {"aggregate": event.aggregate, "aggregate_id": event.aggregate_id, "aggregate_version": event.version}
    await connection.execute(_UNPARK, {"consumer": consumer, **key})


async def list_parked(
    connection: AsyncConnection, consumer: str, limit: int = 100, after: ParkedEvent | None = None
) -> Sequence[ParkedEvent]:
    """The oldest first, starting after `after`."""
    position = {
        "at": after.parked_at if after else None,
        "aggregate": after.aggregate if after else "",
        "aggregate_id": after.aggregate_id if after else "",
        "aggregate_version": after.version if after else 0,
    }
    rows = await connection.execute(_LIST_PARKED, {"consumer": consumer, "limit": limit, **position})
    return [ParkedEvent(*row) for row in rows]
