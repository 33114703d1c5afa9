"""Takes a comment, whatever is away: its home if that answers soon, else any shard, which keeps it for its home.

Neither Temporal nor, for a hand-off, the catalog is needed. A home that did not answer in time may have taken it all
the same: then both have it, and the relay finds it there already.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from domain.comments import Comment, check_not_ahead
from domain.errors import Refused, ShardwiseError, StaleRoute, Unreachable
from shards.comments.home import post
from shards.connections.cluster import Cluster
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.shard import Shard
from shards.connections.waiting import within
from shards.routing.router import Router
from shards.routing.shard_transaction import translating_errors

log = logging.getLogger("shardwise.comments")

HOME_SECONDS = 0.2
# Longer than opening a connection takes on a busy machine: slow is better than not taken.
OTHER_SECONDS = 4.0

_CLOCK = text("SELECT clock_timestamp()")
_HAND_OFF = text("""
    INSERT INTO comment_handoff (id, sku, customer_id, body, at, content_hash)
    VALUES (:id, :sku, :customer_id, :body, :at, :content_hash)
    ON CONFLICT (id) DO NOTHING
""")
_KNOWN = text("SELECT content_hash, at FROM comment_handoff WHERE id = :id")


@dataclass(frozen=True, slots=True)
class Taken:
    """`shard` has it. `is_home` false: it is on its way there."""

    shard: str
    is_home: bool
    at: datetime


async def take(router: Router, comment: Comment) -> Taken:
    """Idempotent by id and content. A crash leaves it with one shard, with several, or with none: send it again.

    `Unreachable` if no shard answers. `NotFound`, `InvalidInput` and `Refused` as `shards.comments.home.post`, where
    the home says so.
    """
    home = None
    try:
        home = await within(_home_of(router, comment.sku), HOME_SECONDS)
        return await within(_take_at_home(router, comment), HOME_SECONDS)
    except (TimeoutError, ShardwiseError, *DATABASE_ERRORS) as error:
        if isinstance(error, ShardwiseError) and not isinstance(error, _PASSING):
            raise
        log.debug("comment %s is not taken at home", comment.comment_id, exc_info=error)
    return await _take_elsewhere(router.cluster, comment, home)


# What may be otherwise elsewhere, or a moment later: everything of ours that is no refusal and no bad input.
_PASSING = (Unreachable, StaleRoute)


async def _home_of(router: Router, sku: str) -> str:
    return (await router.map()).of_sku(sku).shard


async def _take_at_home(router: Router, comment: Comment) -> Taken:
    posted = await router.write(lambda m: m.of_sku(comment.sku), lambda tx: post(tx, comment))
    return Taken((await router.map()).of_sku(comment.sku).shard, is_home=True, at=posted.at)


async def _take_elsewhere(cluster: Cluster, comment: Comment, home: str | None) -> Taken:
    failures: list[str] = []
    for shard in _in_any_order(each for each in cluster.shards.values() if each.name != home):
        try:
            return await within(_hand_off(shard, comment), OTHER_SECONDS)
        except (TimeoutError, Unreachable, *DATABASE_ERRORS) as error:
            failures.append(error.message if isinstance(error, Unreachable) else f"{shard.name} does not answer")
    raise Unreachable("shard_unreachable", f"no shard takes the comment: {'; '.join(failures) or 'there is no other'}")


async def _hand_off(shard: Shard, comment: Comment) -> Taken:
    about = {
        "id": comment.comment_id,
        "sku": comment.sku,
        "customer_id": comment.customer_id,
        "body": comment.text,
        "at": comment.at,
        "content_hash": comment.content_hash,
    }
    with translating_errors(shard.name):
        async with shard.primary.transaction() as connection:
            check_not_ahead(comment.at, (await connection.execute(_CLOCK)).scalar_one())
            await connection.execute(_HAND_OFF, about)
            known = (await connection.execute(_KNOWN, {"id": comment.comment_id})).one()
            if known.content_hash != comment.content_hash:
                raise Refused("id_conflict", f"comment {comment.comment_id} was taken with other content", "id")
    shard.notifier.notify()
    return Taken(shard.name, is_home=False, at=known.at)


def _in_any_order(shards: Iterable[Shard]) -> list[Shard]:
    """One that is away is not asked first by everybody."""
    found = list(shards)
    random.shuffle(found)
    return found
