"""Positions of consumers that keep them on the shard itself, and the position up to which the outbox was trimmed.

A consumer whose effects are elsewhere, in Temporal, cannot move its position in the same transaction. It moves it
afterwards, and after a crash it reads the last events again, so its effects must be idempotent.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import ShardwiseError
from shards.outbox.slice import BEGINNING

# The consumer that starts the reactors of choreographed orders.
REACTORS = "reactors"
# Not a consumer: events up to this position may be gone.
TRIMMED = "trimmed"

_READ = text("SELECT CAST(xid AS text) FROM outbox_cursor WHERE consumer = :consumer")
# Two readers at once may have read the same events; the position only goes forward.
_MOVE = text("""
    INSERT INTO outbox_cursor AS c (consumer, xid) VALUES (:consumer, CAST(CAST(:xid AS text) AS xid8))
    ON CONFLICT (consumer) DO UPDATE SET xid = excluded.xid, moved_at = now() WHERE c.xid < excluded.xid
""")
# In the order of the index; `limit` keeps the statement so short that it delays nobody.
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
    """Events are gone that the read model has not taken."""

    def __init__(self, message: str) -> None:
        super().__init__("rebuild_needed", f"{message}: run `shardwise projection rebuild`")


async def read_position(connection: AsyncConnection, consumer: str) -> str:
    """The consumer's position; `BEGINNING` if it has not moved yet."""
    found = (await connection.execute(_READ, {"consumer": consumer})).scalar_one_or_none()
    return BEGINNING if found is None else str(found)


async def move_position(connection: AsyncConnection, consumer: str, position: str) -> None:
    """Moves the consumer's position forward; a position behind the stored one changes nothing. Idempotent."""
    await connection.execute(_MOVE, {"consumer": consumer, "xid": position})


async def trim(connection: AsyncConnection, below: str, keep_seconds: float, limit: int = 5000) -> int:
    """Deletes at most `limit` events below the position `below`, which every consumer must have passed, that are older
    than `keep_seconds`. Returns how many.

    Records in the same transaction how far it went, so that a new consumer can see which events it missed. Cannot be
    undone. Idempotent; a crash leaves all of it or nothing.
    """
    gone = (await connection.execute(_TRIM, {"below": below, "keep_seconds": keep_seconds, "limit": limit})).one()
    if gone.events:
        await connection.execute(_NOTE_TRIMMED, {"consumer": TRIMMED, "xid": gone.last})
    return int(gone.events)


async def assert_untrimmed(connection: AsyncConnection, position: str, shard: str) -> None:
    """Raises `RebuildNeeded` if events at or after this position are gone."""
    about = {"trimmed": TRIMMED, "position": position}
    if (await connection.execute(_IS_TRIMMED, about)).scalar_one():
        raise RebuildNeeded(f"{shard} has trimmed events that the read model has not seen")


async def trimmed_to(connection: AsyncConnection) -> str:
    """Events of transactions up to and including this id may be gone."""
    return await read_position(connection, TRIMMED)
