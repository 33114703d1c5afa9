"""What was committed on a shard between two looks, as its outbox tells it: exact, whatever was open meanwhile.

"Committed between" is asked of the snapshots themselves and not of ids or times, and only the new events are read.
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
    """Names what this connection's transaction sees, for the next look."""
    return str((await connection.execute(_SEEN)).scalar_one())


async def count_events_since(connection: AsyncConnection, seen: str, kinds: Sequence[str]) -> Mapping[str, int]:
    """By kind, the events that this transaction sees and the one behind `seen` did not."""
    found = await connection.execute(_COUNT_NEW, {"seen": seen, "kinds": list(kinds)})
    return {row.kind: row.n for row in found}
