"""A slice of the outbox: all events of all transactions from one position to another.

Row ids and transaction ids are assigned before the commit, so a reader that takes "everything above the last id I saw"
skips transactions that commit late. Here a position is a transaction id below which every transaction has ended, and a
slice ends at `pg_snapshot_xmin` of the snapshot that reads it: transactions that are still open, prepared ones
included, lie above and are read later. A slice holds whole transactions, so a consumer never sees half of one.

Events of one aggregate can arrive in another order than their versions: a transaction gets its id before it waits for
the aggregate's lock. Consumers go by version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.connections.forks import CURRENT_FORK

BEGINNING = "0"
EVENTS_MAX = 1000

_XID = "CAST(CAST(:{} AS text) AS xid8)"
# The horizon is that of the slice's own snapshot.
_END = text(f"""
    WITH horizon AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid),
    last_taken AS (
        SELECT outbox.xid FROM outbox, horizon WHERE outbox.xid >= {_XID.format("after")} AND outbox.xid < horizon.xid
        ORDER BY outbox.xid, id OFFSET :events_max LIMIT 1
    )
    SELECT CAST(coalesce((
        SELECT min(outbox.xid) FROM outbox, last_taken, horizon
        WHERE outbox.xid > last_taken.xid AND outbox.xid < horizon.xid
    ), greatest(horizon.xid, {_XID.format("after")})) AS text)
    FROM horizon
""")
_ANY_FROM_END = text(f"""
    SELECT EXISTS (SELECT FROM outbox WHERE xid >= {_XID.format("end")})
""")
_HAS_NEWS = text(f"""
    SELECT EXISTS (SELECT FROM outbox WHERE xid >= {_XID.format("after")})
        OR {CURRENT_FORK} IS DISTINCT FROM CAST(:fork AS text)
""")

# A condition for queries over a slice; they bind `begin` and `end`.
WITHIN = f"xid >= {_XID.format('begin')} AND xid < {_XID.format('end')}"


@dataclass(frozen=True, slots=True)
class Taken:
    """How many `events` a consumer took, and whether there are `more` after them, readable or hidden by an open
    transaction."""

    events: int
    more: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """All events of transactions from `begin` up to, not including, `end`."""

    begin: str
    end: str

    @property
    def is_empty(self) -> bool:
        return self.begin == self.end

    @property
    def bound(self) -> dict[str, Any]:
        """Parameters of queries with `WITHIN`."""
        return {"begin": self.begin, "end": self.end}


async def slice_from(snapshot: AsyncConnection, after: str, events_max: int = EVENTS_MAX) -> Slice:
    """From the position `after`, inclusive, to the horizon, or until it holds about `events_max` events: a transaction
    is never cut.

    Call it on a primary, in the REPEATABLE READ snapshot that also reads the events. Changes nothing.
    """
    end = (await snapshot.execute(_END, {"after": after, "events_max": events_max})).scalar_one()
    return Slice(after, end)


async def has_events_after(snapshot: AsyncConnection, slice_: Slice) -> bool:
    """Whether there are events after the slice, including those that an open transaction hides."""
    return bool((await snapshot.execute(_ANY_FROM_END, {"end": slice_.end})).scalar_one())


async def has_news(connection: AsyncConnection, position: str, fork: str | None) -> bool:
    """Whether there are events from `position` on, including those that cannot be read yet, or another fork than
    `fork` has begun. Cheap, for idle consumers."""
    return bool((await connection.execute(_HAS_NEWS, {"after": position, "fork": fork})).scalar_one())
