"""Is a shard still the one from whose history a position was taken that is kept elsewhere?

A position is a transaction id, and a shard that was restored from an older copy, promoted without its last
transactions or replaced by an empty one hands the same ids out again: read from such a position it skips what is new,
and is never behind. So whoever keeps a position in another database also keeps a mark:

    read the shard in a snapshot ─▶ write a new mark on the shard ─▶ commit the position with that mark elsewhere

All that the position covers had been committed when the snapshot was taken, before the mark. A shard that has the mark
therefore has all of it, and has given out every transaction id below the position. A shard that lacks the mark went
back, and so did the reader where it is its own database that was restored: either way the two do not fit any more.

The mark before is kept beside the new one, for a reader that dies before its position is committed. A mark is a row of
its own: it costs no event, wakes nobody, and stays when the outbox is trimmed or the shard rests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError, TryAgain

_READ = text("SELECT mark, previous FROM history_mark WHERE reader = :reader")
_FIRST = text("""
    INSERT INTO history_mark (reader, mark, previous) VALUES (:reader, :mark, :kept) ON CONFLICT DO NOTHING
    RETURNING mark
""")
# Only over what this reader has seen: one that was given up and comes late must not put away the mark of the next.
_RENEW = text("""
    UPDATE history_mark SET mark = :mark, previous = :kept, marked_at = now()
    WHERE reader = :reader AND mark = :seen RETURNING mark
""")
# A reader's row is there before its position is committed.
_FORGET = text("""
    DELETE FROM history_mark WHERE reader <> ALL (:readers) AND marked_at < now() - interval '1 hour'
""")


class HistoryLost(ShardwiseError):
    """The position of a reader is of another history than the shard's. No retry can mend it, and nothing was taken."""

    def __init__(self, shard: str) -> None:
        super().__init__(
            "history_lost",
            f"{shard} and the read model are of different histories, one of them was restored or replaced: run "
            "`shardwise recover`, then `shardwise projection rebuild`",
        )
        self.shard = shard


@dataclass(frozen=True, slots=True)
class Marked:
    """A reader's row as a shard has it; without one both are None."""

    mark: str | None = None
    previous: str | None = None

    def vouches_for(self, kept: str | None) -> bool:
        """`kept`: the mark beside a position; None where it has none, because nothing was taken yet."""
        return kept is None or kept in (self.mark, self.previous)


async def read_mark(connection: AsyncConnection, reader: str) -> Marked:
    """As the shard has it now. Changes nothing."""
    row = (await connection.execute(_READ, {"reader": reader})).one_or_none()
    return Marked(row.mark, row.previous) if row is not None else Marked()


async def renew_mark(connection: AsyncConnection, reader: str, seen: Marked, kept: str | None) -> str:
    """A new mark on the shard, for the position that its reader commits next; `kept` is the one beside its position
    until then. In a transaction of its own, after everything that the position covers was read.

    A crash behind it leaves a mark that vouches for nothing. `TryAgain` where another reader of the same name was
    quicker than this one, which saw `seen`.
    """
    about = {"reader": reader, "mark": str(uuid4()), "kept": kept}
    if seen.mark is None:
        written = await connection.execute(_FIRST, about)
    else:
        written = await connection.execute(_RENEW, {**about, "seen": seen.mark})
    mark = written.scalar_one_or_none()
    if mark is None:
        raise TryAgain("another reader has marked the shard meanwhile")
    return str(mark)


async def forget_marks(connection: AsyncConnection, readers: Sequence[str]) -> None:
    """Removes all other readers' marks: those of versions of the read model that were dropped. Idempotent."""
    await connection.execute(_FORGET, {"readers": list(readers)})
