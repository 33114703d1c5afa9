"""Stamps of primaries: where they stand after an outcome was returned, or now."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress

from domain.consistency import Point, Points, points_of
from domain.errors import Busy, ShardwiseError, Unreachable
from shards.connections.concurrency import gather_all
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.shard import Shard
from shards.connections.waiting import within
from shards.reading.facts import Stamp, stamp_primary
from shards.reading.held_session import HeldSession
from shards.routing.shard_transaction import translating_errors

log = logging.getLogger("shardwise.reading")

ANSWER_SECONDS = 1.0


async def stamp(shard: Shard, forks: Iterable[str] = ()) -> Stamp:
    """Where the primary stands now: everything that was returned before lies below. Raises `Unreachable`."""
    with translating_errors(shard.name):
        async with shard.primary.autocommit() as connection:
            return await stamp_primary(connection, frozenset(forks))


async def stamp_outcome(shards: Iterable[Shard], held: HeldSession, is_final: bool = True) -> None:
    """After an outcome that concerns these shards was read, and before it is returned: asks each primary once. One that
    is not final says nothing of a shard that does not answer.

    Where one does not answer, the outcome counts as unstamped, and only that primary will do for reads of it. Raises
    nothing: the outcome is one whatever becomes of the stamp.
    """
    before = held.session

    async def of(shard: Shard) -> None:
        try:
            found = await within(stamp(shard, held.forks(shard.name)), ANSWER_SECONDS)
        except (TimeoutError, ShardwiseError, *DATABASE_ERRORS) as error:
            log.debug("%s was not stamped", shard.name, exc_info=error)
            if is_final:
                held.wrote_unstamped(shard.name)
        else:
            held.wrote(shard.name, before, found)

    await gather_all(of(shard) for shard in shards)


async def stamp_unknown(shards: Mapping[str, Shard], held: HeldSession) -> None:
    """Asks the primaries of those shards where the session's outcomes are unstamped. One that does not answer stays
    unknown."""
    unknown = {shard for shard, point in held.session.wrote if point.is_unknown}
    before = held.session
    for name in sorted(unknown & shards.keys()):
        with suppress(TimeoutError, Unreachable, Busy):
            found = await within(stamp(shards[name], held.forks(name)), ANSWER_SECONDS)
            held.wrote(name, before, found)


async def fresh(shards: Iterable[Shard]) -> Points:
    """A stamp of each, for a strong read of lists. `Unreachable` if one does not answer."""
    found = await gather_all(_fresh(shard) for shard in shards)
    return points_of(found)


async def _fresh(shard: Shard) -> tuple[str, Point]:
    return shard.name, (await stamp(shard)).point
