"""A product's comments as one thread, in the order of (time, id)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text

from domain.errors import Busy, ShardwiseError, Unreachable
from domain.timestamps import Timestamp
from shards.connections.concurrency import gather_all
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.shard import Shard
from shards.connections.waiting import within
from shards.routing.router import Reads
from shards.routing.shard_transaction import ShardTransaction, translating_errors

ANSWER_SECONDS = 1.0

_AFTER = "(at, id) > (CAST(:at AS timestamptz), CAST(:id AS text))"
_THREAD = text(f"""
    SELECT id, sku, customer_id, body, at FROM comment WHERE sku = :sku AND NOT hidden AND {_AFTER}
    ORDER BY at, id LIMIT :limit
""")
_HANDED_OFF = text(f"""
    SELECT id, sku, customer_id, body, at FROM comment_handoff WHERE sku = :sku AND {_AFTER}
    ORDER BY at, id LIMIT :limit
""")

ThreadKey = tuple[datetime, str]
BEGINNING: ThreadKey = (datetime(1970, 1, 1, tzinfo=UTC), "")


@dataclass(frozen=True, slots=True)
class CommentInThread:
    """`on_its_way_from`: the shard that has taken it, as long as its home did not show it; None if the home did."""

    comment_id: str
    customer_id: str
    text: str
    at: Timestamp
    on_its_way_from: str | None


@dataclass(frozen=True, slots=True)
class Thread:
    """`missing`: servers that did not answer. Comments that only they have are not in it."""

    comments: tuple[CommentInThread, ...]
    missing: tuple[str, ...]


async def read_thread(
    reads: Reads, takers: Iterable[Shard], sku: str, limit: int, after: ThreadKey = BEGINNING, whole: bool = False
) -> Thread:
    """A page of the thread: what the home shows at the level of `reads`, and what `takers` have taken for it.

    `takers` are the shards that the session knows to have taken something. Where the home does not answer, it is only
    what they have, and says so; with `whole` that is `Unreachable`.
    """
    about = {"sku": sku, "at": after[0], "id": after[1], "limit": limit}
    # First, since a comment may go home in between: then both have it.
    taken = await gather_all(_handed_off(shard, about) for shard in takers)
    found: dict[str, CommentInThread] = {}
    missing = [shard for shard, rows in taken if rows is None]
    for shard, rows in taken:
        found |= {row.id: _shown(row, shard) for row in rows or ()}
    try:

        async def read(tx: ShardTransaction) -> Sequence[Any]:
            return (await tx.execute(_THREAD, **about)).all()

        found |= {row.id: _shown(row, None) for row in await reads.read(lambda m: m.of_sku(sku), read)}
    except (Unreachable, Busy) as failure:
        if whole:
            raise
        missing.append(failure.shard or "the shard map")
    in_order = sorted(found.values(), key=lambda each: (each.at, each.comment_id))
    return Thread(tuple(in_order[:limit]), tuple(missing))


async def _handed_off(shard: Shard, about: dict[str, Any]) -> tuple[str, Sequence[Any] | None]:
    try:
        return shard.name, await within(_query(shard, about), ANSWER_SECONDS)
    except (TimeoutError, ShardwiseError, *DATABASE_ERRORS):
        return shard.name, None


async def _query(shard: Shard, about: dict[str, Any]) -> Sequence[Any]:
    with translating_errors(shard.name):
        async with shard.primary.autocommit() as connection:
            return (await connection.execute(_HANDED_OFF, about)).all()


def _shown(row: Any, taken_by: str | None) -> CommentInThread:
    return CommentInThread(row.id, row.customer_id, row.body, row.at, taken_by)
