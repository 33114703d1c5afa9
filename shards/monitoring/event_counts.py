"""Counts the events that a shard committed between two snapshots: exact, whatever was open meanwhile.

The snapshots themselves say what was committed between them, not ids or times, and only new events are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_SEEN = text("SELECT CAST(pg_current_snapshot() AS text)")
_COUNT_NEW = text("""
    SELECT kind, count(*) AS n FROM outbox
    WHERE xid >= pg_snapshot_xmin(CAST(CAST(:seen AS text) AS pg_snapshot))
      AND NOT pg_visible_in_snapshot(xid, CAST(CAST(:seen AS text) AS pg_snapshot))
      AND kind = ANY(:kinds)
    GROUP BY kind
""")


async def snapshot_of(connection: AsyncConnection) -> str:
    """The snapshot of this connection's transaction, as text, for the next count."""
    return str((await connection.execute(_SEEN)).scalar_one())


async def count_events_since(connection: AsyncConnection, seen: str, kinds: Sequence[str]) -> Mapping[str, int]:
    """By kind, how many events this transaction sees that the snapshot `seen` did not."""
    found = await connection.execute(_COUNT_NEW, {"seen": seen, "kinds": list(kinds)})
    return {row.kind: row.n for row in found}
