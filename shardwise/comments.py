"""Comments on products: always taken, read as threads."""

from __future__ import annotations

import time

from pydantic import TypeAdapter

from domain.comments import Comment, check_comment, microseconds_of, time_after
from domain.consistency import Level
from domain.documents import Document
from domain.identifiers import check_identifier
from domain.page_tokens import KeyId, KeyTime, PageToken
from domain.timestamps import Timestamp
from shards.comments import home, taking
from shards.comments.thread import BEGINNING, CommentInThread, ThreadKey, read_thread
from shards.read_model.pages import next_token, page_after
from shardwise.connections import Installation
from shardwise.new_ids import new_id
from shardwise.reading import Consistency, Reading

__all__ = ["CommentInThread", "Comments", "HiddenComment", "PostedComment", "ThreadPage"]

LIMIT = 50


class PostedComment(Document):
    """`shard` has taken it. `at_home` false: that is not the SKU's, which will get it from there."""

    comment_id: str
    sku: str
    customer_id: str
    text: str
    at: Timestamp
    shard: str
    at_home: bool


class HiddenComment(Document):
    """`changed`: by this call."""

    comment_id: str
    sku: str
    changed: bool


class ThreadPage(Document):
    """In the order of (time, id). `missing`: servers that did not answer; what only they have is not in it. `next` goes
    into `after` to get the next page; None if this is the last."""

    sku: str
    comments: tuple[CommentInThread, ...]
    missing: tuple[str, ...]
    next: str | None


class Comments:
    """Available rather than consistent: what is posted is taken while any shard answers, and is at home once the relay
    has brought it there. Needs no Temporal to post."""

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    async def post(self, sku: str, customer: str, text: str, comment_id: str | None = None) -> PostedComment:
        """Takes a comment: at home within 0.2 s, else by any shard that answers. Its time is now, or later than
        everything that the session was shown.

        Idempotent by id and content; without an id, a repeat is another comment. Undone by `hide`. A crash leaves it
        taken or not: post it again under its id. `Unreachable` if no shard answers; `NotFound` with `unknown_sku` if
        the home answers and does not list the product; `Refused` with `id_conflict`; `InvalidInput` naming `at` if
        this machine's clock is more than a minute ahead.
        """
        chosen = new_id() if comment_id is None else comment_id
        at = time_after(self._reading.clock, time.time())
        comment = check_comment(Comment(chosen, sku, customer, text, at))
        taken = await taking.take(self._installation.with_timeouts.router, comment)
        await self._reading.wrote_on([taken.shard])
        self._reading.saw_time(microseconds_of(taken.at))
        return PostedComment(
            comment_id=chosen,
            sku=sku,
            customer_id=customer,
            text=text,
            at=taken.at,
            shard=taken.shard,
            at_home=taken.is_home,
        )

    async def thread(
        self, sku: str, limit: int = LIMIT, after: str | None = None, consistency: Consistency = None
    ) -> ThreadPage:
        """A product's comments from its shard or a replica of that, and those that this session has posted while its
        shard was away. With a session at least what it posted, else perhaps a moment old, unless another level is
        named.

        Where its shard does not answer, the page has what is left, and says so; `strong` is `Unreachable` then.
        """
        check_identifier(sku, "sku")
        token: PageToken[ThreadKey] = PageToken(f"thread/{sku}", TypeAdapter(tuple[KeyTime, KeyId]))
        page = page_after(token, limit, after)
        reads = self._reading.following(consistency)
        cluster = self._installation.with_timeouts.cluster
        takers = [cluster.shards[name] for name in sorted(self._reading.wrote_to() & cluster.shards.keys())]
        is_strong = reads.level is Level.STRONG
        found = await read_thread(reads, takers, sku, page.rows_read, page.after or BEGINNING, whole=is_strong)
        shown = found.comments[: page.limit]
        if shown:
            self._reading.saw_time(max(microseconds_of(each.at) for each in shown))
        more = (shown[-1].at, shown[-1].comment_id) if len(found.comments) > page.limit else None
        return ThreadPage(sku=sku, comments=shown, missing=found.missing, next=next_token(token, more))

    async def hide(self, sku: str, comment_id: str) -> HiddenComment:
        """Leaves a comment out of its thread, for ever. Idempotent. `NotFound` with `unknown_comment`, also while it is
        on its way home; `Unreachable` if its shard is away."""
        check_identifier(sku, "sku")
        check_identifier(comment_id, "id")
        changed = await self._installation.with_timeouts.router.write(
            lambda m: m.of_sku(sku), lambda tx: home.hide(tx, sku, comment_id)
        )
        await self._reading.wrote(lambda m: [m.of_sku(sku)])
        return HiddenComment(comment_id=comment_id, sku=sku, changed=changed)
