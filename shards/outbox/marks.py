"""Marks: they show whether a shard still has the history from which a position, kept in another database, was taken.

A position is a transaction id. A shard that was restored from an older copy, promoted without its last transactions or
replaced by an empty one assigns the same ids again: a reader that went on from its old position would skip new events
and never notice. So a reader that keeps its position in another database also keeps a mark:

    read the shard in a snapshot ─▶ write a new mark on the shard ─▶ commit the position with that mark elsewhere

Everything before the position was committed when the snapshot was taken, before the mark was written. So a shard that
has the mark has all of it, and has assigned every transaction id below the position. If the shard lacks the mark, then
either the shard or the reader's database was restored, and the two no longer fit.

The previous mark is kept beside the new one, for a reader that dies before it commits its position. A mark is a row of
its own: it needs no event, wakes nobody, and stays when the outbox is trimmed or the shard is idle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError, TryAgain
from shards.connections.forks import CURRENT_FORK, END_OF_LOG, NEWEST_FORKS

_READ = text(f"""
    SELECT mark, previous, fork FROM (SELECT {CURRENT_FORK} AS fork) AS now
    LEFT JOIN history_mark ON reader = :reader
""")
_VOUCHED = f"mark, {END_OF_LOG} AS lsn, CAST({NEWEST_FORKS} AS text) AS forks"
_FIRST = text(f"""
    INSERT INTO history_mark (reader, mark, previous) VALUES (:reader, :mark, :kept) ON CONFLICT DO NOTHING
    RETURNING {_VOUCHED}
""")
# Only if the mark is the one that this reader saw: an abandoned attempt that arrives late must not replace a newer
# mark.
_RENEW = text(f"""
    UPDATE history_mark SET mark = :mark, previous = :kept, marked_at = now()
    WHERE reader = :reader AND mark = :seen RETURNING {_VOUCHED}
""")
# A reader's mark is written before its position commits, so young marks without a position are kept.
_FORGET = text("""
    DELETE FROM history_mark WHERE reader <> ALL (:readers) AND marked_at < now() - interval '1 hour'
""")


class HistoryLost(ShardwiseError):
    """A reader's position is of another history than the shard's. No retry can mend it; nothing was taken."""

    def __init__(self, shard: str) -> None:
        super().__init__(
            "history_lost",
            f"{shard} and the read model are of different histories, one of them was restored or replaced: run "
            "`shardwise recover`, then `shardwise projection rebuild`",
        )
        self.shard = shard


@dataclass(frozen=True, slots=True)
class Marked:
    """A reader's row on a shard; both are None if there is no row. `fork`: the one that the shard writes now."""

    mark: str | None = None
    previous: str | None = None
    fork: str | None = None

    def vouches_for(self, kept: str | None) -> bool:
        """`kept`: the mark stored with the reader's position; None if nothing was taken yet."""
        return kept is None or kept in (self.mark, self.previous)


async def read_mark(connection: AsyncConnection, reader: str) -> Marked:
    """The reader's marks on the shard now. Changes nothing."""
    return Marked(*(await connection.execute(_READ, {"reader": reader})).one())


@dataclass(frozen=True, slots=True)
class Vouched:
    """What a reader commits with its position. `lsn`: everything before the position was committed below it, in the
    newest of the `forks`, which are JSON."""

    mark: str
    lsn: int
    forks: str | None


async def renew_mark(connection: AsyncConnection, reader: str, seen: Marked, kept: str | None) -> Vouched:
    """Writes a new mark on the shard, for the position that the reader commits next, and returns it. `kept` is the mark
    stored with the reader's present position.

    Call it in a transaction of its own, after reading everything before the new position. A crash afterwards leaves a
    mark that no position uses. `TryAgain` if another reader of the same name has replaced the mark `seen`.
    """
    about = {"reader": reader, "mark": str(uuid4()), "kept": kept}
    if seen.mark is None:
        written = await connection.execute(_FIRST, about)
    else:
        written = await connection.execute(_RENEW, {**about, "seen": seen.mark})
    row = written.one_or_none()
    if row is None:
        raise TryAgain("another reader has marked the shard meanwhile")
    return Vouched(*row)


async def forget_marks(connection: AsyncConnection, readers: Sequence[str]) -> None:
    """Removes old marks of all readers but these, left by versions of the read model that were dropped. Idempotent."""
    await connection.execute(_FORGET, {"readers": list(readers)})
