"""How services read at a level, and raise the caller's session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from domain.choices import choice
from domain.consistency import Level
from domain.errors import InvalidInput
from domain.shard_map import Route, ShardMap
from shards.reading.lists import ListRead
from shards.reading.served import Served, recording
from shards.reading.shard_reads import ShardReads
from shards.reading.stamping import stamp_outcome
from shards.routing.shard_transaction import ShardTransaction
from shardwise.connections import Installation
from shardwise.sessions import Session

__all__ = ["Consistency", "Level", "Reading", "ReadsAt", "Served", "recording"]

T = TypeVar("T")

Consistency = Level | str | None
"""A level or its name; None: the default of what is read."""


class Reading:
    """For one caller: `session` is None for callers without one."""

    def __init__(self, installation: Installation, session: Session | None = None) -> None:
        self._installation = installation
        self._session = session

    def strong(self, consistency: Consistency = None) -> ReadsAt:
        """For what says what is true at this moment: strong, unless the caller says otherwise."""
        return self._at(Level.STRONG if consistency is None else self._level(consistency))

    def following(self, consistency: Consistency = None) -> ReadsAt:
        """For what may be a little behind: with a session read-your-writes, else eventual, unless the caller says
        otherwise."""
        return self._at(self._following(consistency))

    def lists(self, consistency: Consistency = None) -> ListRead:
        """As `following`, for queries of the read model. For one query."""
        held = self._session.held if self._session is not None else None
        return ListRead(self._installation.with_timeouts.cluster.shards, self._following(consistency), held)

    async def wrote(self, routes_of: Callable[[ShardMap], Iterable[Route]], is_final: bool = True) -> None:
        """After an outcome, before it is returned: stamps the shards that it concerns. Without a session nothing."""
        if self._session is None:
            return
        to = self._installation.with_timeouts
        names = {route.shard for route in routes_of(await to.router.map())}
        await stamp_outcome([to.cluster.shards[name] for name in sorted(names)], self._session.held, is_final)

    async def wrote_on(self, shards: Iterable[str]) -> None:
        """As `wrote`, for shards that the outcome names."""
        if self._session is not None:
            cluster = self._installation.with_timeouts.cluster
            await stamp_outcome([cluster.shards[name] for name in shards], self._session.held)

    def wrote_to(self) -> set[str]:
        """The shards where the session wrote something."""
        return {shard for shard, _ in self._session.held.session.wrote} if self._session is not None else set()

    @property
    def clock(self) -> int:
        """The newest time of a comment that the session was shown, in microseconds since 1970."""
        return self._session.held.session.clock if self._session is not None else 0

    def saw_time(self, clock: int) -> None:
        if self._session is not None:
            self._session.held.saw_time(clock)

    async def wrote_anywhere(self) -> None:
        """As `wrote`, for an outcome that concerns any number of shards."""
        if self._session is not None:
            await stamp_outcome(self._installation.with_timeouts.cluster.shards.values(), self._session.held)

    def _at(self, level: Level) -> ReadsAt:
        return ReadsAt(self._installation.with_timeouts.reads, level, self._session)

    def _following(self, consistency: Consistency) -> Level:
        if consistency is not None:
            return self._level(consistency)
        return Level.EVENTUAL if self._session is None else Level.READ_YOUR_WRITES

    def _level(self, consistency: Level | str) -> Level:
        level = choice(Level, consistency, "consistency")
        if self._session is None and level in (Level.READ_YOUR_WRITES, Level.MONOTONIC):
            message = f"consistency: {level} needs a session, which says what was written and seen"
            raise InvalidInput("consistency", f"{message} (--session or SHARDWISE_SESSION)")
        return level


class ReadsAt:
    """Reads of rows at one level, for one caller: as `Router.read`, from whichever server is good enough."""

    def __init__(self, reads: ShardReads, level: Level, session: Session | None) -> None:
        self._reads = reads
        self.level = level
        self._held = session.held if session is not None else None

    async def map(self) -> ShardMap:
        return await self._reads.map()

    async def read(self, route_of: Callable[[ShardMap], Route], work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        return await self._reads.read(route_of, work, self.level, self._held)
