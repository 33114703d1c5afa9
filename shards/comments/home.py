"""A comment on its home shard, with its event, in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from domain.comments import Comment, check_not_ahead
from domain.errors import NotFound, Refused
from domain.events import CommentEvent
from shards.outbox.appending import append_event
from shards.routing.shard_transaction import ShardTransaction

# `clock_timestamp`, since a comment may be later than the transaction that takes it began.
_POST = text("""
    INSERT INTO comment (id, sku, sku_range, customer_id, body, at, content_hash, taken_by)
    VALUES (:id, :sku, :sku_range, :customer_id, :body, :at, :content_hash, :taken_by)
    ON CONFLICT (id) DO NOTHING RETURNING version
""")
_KNOWN = text("SELECT content_hash, at FROM comment WHERE id = :id")
_LOOK = text("SELECT clock_timestamp() AS clock, EXISTS (SELECT FROM product WHERE sku = :sku) AS is_listed")
_HIDE = text("""
    UPDATE comment SET hidden = true, version = version + 1 WHERE id = :id AND sku = :sku AND NOT hidden
    RETURNING version
""")
_IS_THERE = text("SELECT EXISTS (SELECT FROM comment WHERE id = :id AND sku = :sku)")


@dataclass(frozen=True, slots=True)
class Posted:
    """`at` is that of the first time, if the comment was there already."""

    at: datetime
    is_new: bool


async def post(tx: ShardTransaction, comment: Comment) -> Posted:
    """Takes a comment at home. Idempotent by id and content. Undone by `hide`. A crash leaves all of it or nothing.

    `NotFound` with `unknown_sku`, `InvalidInput` naming `at` for a time too far ahead, `Refused` with `id_conflict` if
    the id has other content.
    """
    now = (await tx.execute(_LOOK, sku=comment.sku)).one()
    if not now.is_listed:
        raise NotFound("unknown_sku", f"there is no product {comment.sku}", "sku")
    check_not_ahead(comment.at, now.clock)
    return await bring_home(tx, comment, tx.route.shard)


async def bring_home(tx: ShardTransaction, comment: Comment, taken_by: str) -> Posted:
    """As `post`, for one that `taken_by` has accepted: whether the product is listed, and how late its time is, is not
    asked again."""
    about = {
        "id": comment.comment_id,
        "sku": comment.sku,
        "sku_range": tx.route.slot,
        "customer_id": comment.customer_id,
        "body": comment.text,
        "at": comment.at,
        "content_hash": comment.content_hash,
        "taken_by": taken_by,
    }
    version = (await tx.execute(_POST, **about)).scalar_one_or_none()
    if version is None:
        known = (await tx.execute(_KNOWN, id=comment.comment_id)).one()
        if known.content_hash != comment.content_hash:
            raise Refused("id_conflict", f"comment {comment.comment_id} is there with other content", "id")
        return Posted(known.at, is_new=False)
    append_event(tx, f"comment/{comment.comment_id}", CommentEvent.POSTED, comment.comment_id, version)
    return Posted(comment.at, is_new=True)


async def hide(tx: ShardTransaction, sku: str, comment_id: str) -> bool:
    """Leaves it out of threads. False if it was hidden before. Never undone. `NotFound` with `unknown_comment`."""
    version = (await tx.execute(_HIDE, id=comment_id, sku=sku)).scalar_one_or_none()
    if version is not None:
        append_event(tx, f"comment/{comment_id}", CommentEvent.HIDDEN, comment_id, version)
        return True
    if not (await tx.execute(_IS_THERE, id=comment_id, sku=sku)).scalar_one():
        raise NotFound("unknown_comment", f"product {sku} has no comment {comment_id}", "id")
    return False
