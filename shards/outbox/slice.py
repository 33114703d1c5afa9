"""A slice of the outbox: the events of all transactions from one position to another, none of them left out.

Ids are handed out before their transactions commit, and so are transaction ids: whoever reads "everything above the
last one I saw" skips what commits late. A position here is a transaction id below which everything has ended, and a
slice ends at `pg_snapshot_xmin` of the snapshot that reads it: what is still open, a prepared transaction included,
lies above and is read later. A slice holds whole transactions, so a consumer never sees half of one.

Events of one aggregate can come in another order than their versions: a transaction gets its id before it waits for the
aggregate's lock. Consumers go by version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

BEGINNING = "0"
EVENTS_MAX = 1000

_XID = "CAST(CAST(:{} AS text) AS xid8)"
# Within the slice's own snapshot, whose horizon it is.
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
_HIDDEN = text(f"""
    SELECT EXISTS (SELECT FROM outbox WHERE xid >= {_XID.format("end")})
""")
_PENDING = text(f"SELECT EXISTS (SELECT FROM outbox WHERE xid >= {_XID.format('after')})")

# For the queries of a slice, which bind `begin` and `end`.
WITHIN = f"xid >= {_XID.format('begin')} AND xid < {_XID.format('end')}"


@dataclass(frozen=True, slots=True)
class StepResult:
    """`events` that a consumer took, and whether `more` lie behind, perhaps ones that an open transaction hides."""

    events: int
    more: bool


@dataclass(frozen=True, slots=True)
class Slice:
    """Everything of transactions from `begin` up to and without `end`."""

    begin: str
    end: str

    @property
    def is_empty(self) -> bool:
        return self.begin == self.end

    @property
    def bound(self) -> dict[str, Any]:
        """For queries that hold `WITHIN`."""
        return {"begin": self.begin, "end": self.end}


async def slice_after(snapshot: AsyncConnection, after: str, events_max: int = EVENTS_MAX) -> Slice:
    """From `after` to the horizon, or to where about `events_max` events are in: a transaction is never cut.

    On a primary, within one REPEATABLE READ snapshot, which also has to read the events. Changes nothing.
    """
    end = (await snapshot.execute(_END, {"after": after, "events_max": events_max})).scalar_one()
    return Slice(after, end)


async def more_behind(snapshot: AsyncConnection, slice_: Slice) -> bool:
    """Whether events lie behind the slice: further ones, or some that an open transaction hides."""
    return bool((await snapshot.execute(_HIDDEN, {"end": slice_.end})).scalar_one())


async def is_anything_behind(connection: AsyncConnection, position: str) -> bool:
    """The cheap question of an idle consumer. Counts what is committed and cannot be read yet."""
    return bool((await connection.execute(_PENDING, {"after": position})).scalar_one())
