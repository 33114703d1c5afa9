"""Where consumers stand that keep their position on the shard itself, what they left aside, and what was trimmed.

A consumer whose effects lie elsewhere, in Temporal, cannot move its position in their transaction: it moves it after
them, and after a crash it meets the last events again. Its effects must bear that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError
from shards.outbox.parked_keys import parked_key
from shards.outbox.slice import BEGINNING

# The consumer that starts the reactors of choreographed orders.
REACTORS = "reactors"
# Not a consumer: what lies below it is gone.
TRIMMED = "trimmed"

_READ = text("SELECT CAST(xid AS text) FROM outbox_cursor WHERE consumer = :consumer")
# Two at once may have read the same events; the position goes only forward.
_MOVE = text("""
    INSERT INTO outbox_cursor AS c (consumer, xid) VALUES (:consumer, CAST(CAST(:xid AS text) AS xid8))
    ON CONFLICT (consumer) DO UPDATE SET xid = excluded.xid, moved_at = now() WHERE c.xid < excluded.xid
""")
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
# In the order of the index. What a statement of this size deletes holds nobody up.
_TRIM = text("""
    WITH gone AS (
        DELETE FROM outbox WHERE id IN (
            SELECT id FROM outbox WHERE xid < CAST(CAST(:below AS text) AS xid8)
                AND created_at < now() - make_interval(secs => :keep_seconds)
            ORDER BY xid, id LIMIT :limit
        ) RETURNING xid
    )
    SELECT count(*) AS events, CAST(max(xid) AS text) AS last FROM gone
""")
_NOTE_TRIMMED = text("""
    INSERT INTO outbox_cursor AS c (consumer, xid) VALUES (:consumer, CAST(CAST(:xid AS text) AS xid8))
    ON CONFLICT (consumer) DO UPDATE SET xid = greatest(c.xid, excluded.xid), moved_at = now()
""")


_IS_TRIMMED = text("""
    SELECT EXISTS (SELECT FROM outbox_cursor WHERE consumer = :trimmed AND xid >= CAST(CAST(:position AS text) AS xid8))
""")


class RebuildNeeded(ShardwiseError):
    """Events are gone that a read model has not seen."""

    def __init__(self, message: str) -> None:
        super().__init__("rebuild_needed", f"{message}: run `shardwise projection rebuild`")


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    aggregate: str
    aggregate_id: str
    version: int
    kind: str
    reason: str
    parked_at: datetime


async def read_position(connection: AsyncConnection, consumer: str) -> str:
    """The beginning for one that has not moved yet."""
    found = (await connection.execute(_READ, {"consumer": consumer})).scalar_one_or_none()
    return BEGINNING if found is None else str(found)


async def move_position(connection: AsyncConnection, consumer: str, position: str) -> None:
    """Never backwards, whoever was quicker. Idempotent."""
    await connection.execute(_MOVE, {"consumer": consumer, "xid": position})


async def park(connection: AsyncConnection, consumer: str, event: Any, reason: str) -> None:
    """Leaves one event aside, with the reason that it could not be taken. Idempotent by the event's version."""
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
    """The oldest first; those behind `after`."""
    position = {
        "at": after.parked_at if after else None,
        "aggregate": after.aggregate if after else "",
        "aggregate_id": after.aggregate_id if after else "",
        "aggregate_version": after.version if after else 0,
    }
    rows = await connection.execute(_LIST_PARKED, {"consumer": consumer, "limit": limit, **position})
    return [ParkedEvent(*row) for row in rows]


async def trim(connection: AsyncConnection, below: str, keep_seconds: float, limit: int = 5000) -> int:
    """Deletes events below the position `below`, which every consumer must have passed, and older than `keep_seconds`:
    how many, at most `limit`.

    Notes in the same transaction how far it went, so that who begins anew knows what it can no longer read. Cannot be
    undone. Idempotent; a crash leaves all of it or nothing.
    """
    gone = (await connection.execute(_TRIM, {"below": below, "keep_seconds": keep_seconds, "limit": limit})).one()
    if gone.events:
        await connection.execute(_NOTE_TRIMMED, {"consumer": TRIMMED, "xid": gone.last})
    return int(gone.events)


async def assert_untrimmed(connection: AsyncConnection, position: str, shard: str) -> None:
    """`RebuildNeeded` where events at or behind this position are gone."""
    about = {"trimmed": TRIMMED, "position": position}
    if (await connection.execute(_IS_TRIMMED, about)).scalar_one():
        raise RebuildNeeded(f"{shard} has trimmed events that the read model has not seen")


async def trimmed_to(connection: AsyncConnection) -> str:
    """Of transactions up to and with this one, events may be gone."""
    return await read_position(connection, TRIMMED)
