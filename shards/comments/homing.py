"""Brings comments home that a shard has taken for others: one more consumer of that shard's relay."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import TextClause, text

from domain.comments import Comment
from domain.errors import Refused, Unreachable
from shards.comments.home import bring_home
from shards.connections.shard import Shard
from shards.outbox.slice import Taken
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction, translating_errors

log = logging.getLogger("shardwise.comments")

AT_ONCE_MAX = 100
# How long a comment that is home is still found where it was taken. A replica of its home that is behind by more is not
# read from.
KEEP_SECONDS = 600.0

_WAITING = text("""
    SELECT id, sku, customer_id, body, at, taken_at FROM comment_handoff
    WHERE homed_at IS NULL AND (taken_at, id) > (CAST(:taken_at AS timestamptz), CAST(:id AS text))
    ORDER BY taken_at, id LIMIT :limit
""")
_HOMED = text("UPDATE comment_handoff SET homed_at = clock_timestamp() WHERE id = ANY(:ids)")
_DELETE = text("DELETE FROM comment_handoff WHERE homed_at < clock_timestamp() - make_interval(secs => :seconds)")
_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), "")


class Homing:
    """The rows are the queue: one is done once its home has committed the comment. Two at once on one shard, or a crash
    between the two commits, bring it home once all the same."""

    name = "comments"

    def __init__(self, shard: Shard, router: Router) -> None:
        self._shard = shard
        self._router = router

    async def take_next(self) -> Taken:
        """Brings home what waits. Homes that do not answer are left for the next call and hold up no others; then
        `Unreachable` is raised."""
        taken, after = 0, _BEGINNING
        failure: Unreachable | None = None
        while rows := await self._waiting(after):
            after = rows[-1].taken_at, rows[-1].id
            by_sku: dict[str, list[Comment]] = defaultdict(list)
            for row in rows:
                by_sku[row.sku].append(Comment(row.id, row.sku, row.customer_id, row.body, row.at))
            for sku, comments in by_sku.items():
                try:
                    await self._bring(sku, comments)
                    taken += len(comments)
                except Unreachable as error:
                    failure = error
        await self._run(_DELETE, seconds=KEEP_SECONDS)
        if failure is not None:
            raise failure
        return Taken(taken, more=False)

    async def _waiting(self, after: tuple[datetime, str]) -> Sequence[Any]:
        with translating_errors(self._shard.name):
            async with self._shard.primary.transaction() as connection:
                about = {"taken_at": after[0], "id": after[1], "limit": AT_ONCE_MAX}
                return (await connection.execute(_WAITING, about)).all()

    async def _bring(self, sku: str, comments: Sequence[Comment]) -> None:
        async def bring(tx: ShardTransaction) -> None:
            for comment in comments:
                try:
                    await bring_home(tx, comment, self._shard.name)
                except Refused as refused:
                    # Its author has sent another one under the same id, which the home has taken: that one counts.
                    log.warning("%s", refused.message, extra={"shard": self._shard.name, "code": refused.code})

        await self._router.write(lambda m: m.of_sku(sku), bring)
        await self._run(_HOMED, ids=[comment.comment_id for comment in comments])

    async def _run(self, statement: TextClause, **parameters: Any) -> None:
        with translating_errors(self._shard.name):
            async with self._shard.primary.transaction() as connection:
                await connection.execute(statement, parameters)
