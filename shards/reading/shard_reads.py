"""Rows of shards, read at or after a point: from a replica that is fit and at the point, else from the primary.

    a replica that has it ─▶ a bounded wait for the nearest one ─▶ another replica ─▶ the primary, under its own rule
                                                            ─▶ a replica that is not fit, where nothing else answers

Strong reads go to the primary. "Else the primary" alone would break monotonic reads: a commit is in the log, and so on
a replica, before its primary shows it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.balancing import Balancing
from domain.consistency import Level, Point, Points, Session, demanded, lost_session, points_of
from domain.errors import Busy, NotAtPoint, SessionLost, ShardwiseError, Unreachable
from domain.histories import Lineage, Standing
from domain.serving import Lack, Missing, Verdict, of_primary, of_replica
from domain.shard_map import Route, ShardMap
from shards.connections.database_errors import DATABASE_ERRORS, blames_the_data
from shards.connections.replica import Replica
from shards.connections.shard import Shard
from shards.reading import facts
from shards.reading.fleet import ANSWER_SECONDS, Fleet
from shards.reading.held_session import HeldSession
from shards.reading.served import Served, is_recording, record
from shards.reading.vouching import Vouching
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction, translating_errors

T = TypeVar("T")
Work = Callable[[ShardTransaction], Awaitable[T]]
_Opened = tuple[AsyncExitStack, AsyncConnection, facts.ReplicaLook]

log = logging.getLogger("shardwise.reading")

PRIMARY_WAIT_SECONDS = 1.0
_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX = 0.001, 0.01


@dataclass(frozen=True, slots=True)
class ReadSettings:
    """`wait_seconds`: how long a read waits for a replica that is not at its point yet."""

    balancing: Balancing = Balancing.WEIGHTED
    lag_bytes_max: int = 2**24
    wait_seconds: float = 0.05


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    result: T
    served: Served


@dataclass(frozen=True, slots=True)
class _NotYet:
    """A replica that answers and is not at the point."""

    replica: Replica
    replayed: int
    verdict: Verdict


_FORK_UNKNOWN = Verdict((Missing(Lack.HISTORY, "does not know yet which history it is of"),))


class ShardReads:
    """One for a process. What it returns was read in the order of its statements, each of which sees all that was
    committed at or before the point. Changes nothing but the session."""

    def __init__(self, router: Router, settings: ReadSettings) -> None:
        self._router = router
        self._settings = settings
        self._fleets: dict[str, Fleet] = {}
        self._vouchings: dict[str, Vouching] = {}

    async def map(self) -> ShardMap:
        return await self._router.map()

    async def read(
        self, route_of: Callable[[ShardMap], Route], work: Work[T], level: Level, held: HeldSession | None = None
    ) -> T:
        """`work`'s result from a server that is good enough for the level. `held` is raised by it.

        `SessionLost` where the shard's history lacks what the session has seen. `NotAtPoint` where no server gets there
        in time, `Unreachable` where none answers.
        """
        route = route_of(await self._router.map())
        shard = self._router.cluster.shards[route.shard]
        session = held.session if held is not None else Session()
        points = demanded(level, session).of(shard.name)
        fleet, vouching = self._fleet(shard), self._vouching(shard)
        read = _Read(shard, route, work, level, points, held, fleet, vouching, self._settings.wait_seconds)
        with translating_errors(shard.name):
            answer = await read.answer()
        record(answer.served)
        return answer.result

    async def close(self) -> None:
        await asyncio.gather(*(fleet.close() for fleet in self._fleets.values()))

    def _fleet(self, shard: Shard) -> Fleet:
        if shard.name not in self._fleets:
            chosen = self._settings
            self._fleets[shard.name] = Fleet(shard.replicas, chosen.balancing, chosen.lag_bytes_max)
        return self._fleets[shard.name]

    def _vouching(self, shard: Shard) -> Vouching:
        if shard.name not in self._vouchings:
            self._vouchings[shard.name] = Vouching(shard)
        return self._vouchings[shard.name]


class _Read(Generic[T]):
    def __init__(
        self,
        shard: Shard,
        route: Route,
        work: Work[T],
        level: Level,
        points: tuple[Point, ...],
        held: HeldSession | None,
        fleet: Fleet,
        vouching: Vouching,
        wait_seconds: float,
    ) -> None:
        self._shard = shard
        self._route = route
        self._work = work
        self._level = level
        self._points = points
        self._held = held
        self._fleet = fleet
        self._vouching = vouching
        self._wait_seconds = wait_seconds
        self._lacked_since: float | None = None
        self._missing: dict[str, str] = {}
        self._unfit: list[Replica] = []

    async def answer(self) -> _Answer[T]:
        if self._level is Level.STRONG:
            return await self._from_primary()
        self._fleet.look_at_left_out()
        answer = await self._from_replicas()
        if answer is not None:
            return answer
        try:
            return await self._from_primary()
        except (Unreachable, Busy) as failure:
            answer = await self._from_what_is_left()
            if answer is not None:
                return answer
            if isinstance(failure, Unreachable) and not isinstance(failure, NotAtPoint) and self._missing:
                failure.message = "; ".join([failure.message, *self._missing.values()])
            raise

    async def _from_replicas(self) -> _Answer[T] | None:
        if any(point.is_unknown for point in self._points):
            return None
        not_yet: list[_NotYet] = []
        tried: set[str] = set()
        while candidates := self._fleet.candidates(tried):
            with self._fleet.lease(candidates) as replica:
                tried.add(replica.name)
                found = await self._ask(replica, 0.0)
            if isinstance(found, _Answer):
                return found
            if found is not None and found.verdict.may_come:
                not_yet.append(found)
        not_yet.sort(key=lambda each: each.replayed, reverse=True)
        for n, each in enumerate(not_yet):
            found = await self._ask(each.replica, self._wait_seconds if n == 0 else 0.0)
            if isinstance(found, _Answer):
                return found
        return None

    async def _from_what_is_left(self) -> _Answer[T] | None:
        if not any(point.is_unknown for point in self._points):
            # Also those that are not taken out yet, and were found not to be fit by this read.
            for replica in dict.fromkeys([*self._unfit, *self._fleet.left_out()]):
                found = await self._ask(replica, 0.0, fit_only=False)
                if isinstance(found, _Answer):
                    return found
        return None

    async def _ask(self, replica: Replica, wait_seconds: float, fit_only: bool = True) -> _Answer[T] | _NotYet | None:
        """None where it is not to be read from. A replica that fails is left for another one: that is no failure of
        the read."""
        began = time.monotonic()
        try:
            opening = self._opened(replica, wait_seconds)
            stack, connection, look = await self._fleet.in_time(opening, ANSWER_SECONDS + wait_seconds, _put_back)
        except (TimeoutError, ShardwiseError, *DATABASE_ERRORS) as error:
            log.debug("%s is not read from", replica.name, exc_info=error)
            self._fleet.looked(replica.name, False)
            if self._lacked_since is None:
                self._lacked_since = began
            return None
        is_fit = look.left_out is None
        self._fleet.looked(replica.name, is_fit)
        try:
            async with stack:
                if look.facts is None:
                    return None
                if fit_only and not is_fit:
                    self._unfit.append(replica)
                    return None
                verdict = of_replica(self._points, look.facts)
                if verdict.is_good and not await self._knows_its_fork(replica, look):
                    verdict = _FORK_UNKNOWN
                if verdict.is_lost:
                    raise self._lost(look.facts.lineage)
                if not verdict.is_good:
                    self._missing[replica.name] = f"{replica.name} {verdict.why}"
                    return _NotYet(replica, look.facts.replayed, verdict)
                return await self._read_replica(replica, connection, look, is_fit)
        except (Unreachable, Busy):
            self._fleet.looked(replica.name, False)
        except DATABASE_ERRORS as error:
            # Above all a read that was in the way of replay, SQLSTATE 40001: another server has no such conflict.
            if blames_the_data(error):
                raise
            log.debug("a read of %s failed", replica.name, exc_info=error)
        return None

    async def _opened(self, replica: Replica, wait_seconds: float) -> _Opened:
        """A connection on which the replica was just seen to be at the point, or not in time."""
        async with AsyncExitStack() as stack:
            connection = await stack.enter_async_context(replica.database.autocommit())
            forks = self._forks()
            async for _ in _until(time.monotonic() + wait_seconds):
                look = await facts.look_at_replica(connection, forks, self._fleet.lag_bytes_max)
                if look.facts is None or self._is_good(of_replica(self._points, look.facts)):
                    break
            opened = stack.pop_all()
        return opened, connection, look

    async def _knows_its_fork(self, replica: Replica, look: facts.ReplicaLook) -> bool:
        """True also where no position is compared, and none is kept."""
        is_compared = bool(self._points) or self._held is not None
        return not is_compared or await self._vouching.knows_its_fork(replica.name, look)

    async def _read_replica(
        self, replica: Replica, connection: AsyncConnection, look: facts.ReplicaLook, is_fit: bool
    ) -> _Answer[T] | None:
        waited = self._waited()
        result = await self._work(ShardTransaction(connection, self._route))
        points = Points()
        if self._is_stamped:
            stamp = await facts.stamp_replica(connection, self._forks())
            if stamp.receiver not in (None, look.receiver):
                return None  # Meanwhile its primary may have begun a fork.
            points = points_of([(self._shard.name, stamp.point)])
            if self._held is not None:
                self._held.saw_replica(self._shard.name, stamp)
        return _Answer(result, Served(replica.name, self._level, points, waited, is_fit))

    async def _from_primary(self) -> _Answer[T]:
        async with self._shard.primary.autocommit() as connection:
            await self._assert_primary_at_point(connection)
            waited = self._waited()
            before = self._held.session if self._held is not None else Session()
            result = await self._work(ShardTransaction(connection, self._route))
            points = Points()
            if self._is_stamped:
                stamp = await facts.stamp_primary(connection, self._forks())
                points = points_of([(self._shard.name, stamp.point)])
                if self._held is not None:
                    self._held.saw_primary(self._shard.name, before, stamp)
            return _Answer(result, Served(self._shard.name, self._level, points, waited))

    async def _assert_primary_at_point(self, connection: AsyncConnection) -> None:
        if not self._points:
            return
        async for _ in _until(time.monotonic() + PRIMARY_WAIT_SECONDS):
            primary = await facts.look_at_primary(connection, self._points)
            verdict = of_primary(self._points, primary)
            if verdict.is_lost:
                raise self._lost(primary.lineage)
            if self._is_good(verdict):
                return
        # A two-phase commit in doubt can hold this up for as long as it stays so.
        raise NotAtPoint([*self._missing.values(), f"{self._shard.name} {verdict.why}"])

    def _lost(self, lineage: Lineage) -> SessionLost:
        lost = (point for point in self._points if point.standing(lineage) is not Standing.HERE)
        return lost_session(self._shard.name, lost)

    @property
    def _is_stamped(self) -> bool:
        return self._held is not None or is_recording()

    def _forks(self) -> frozenset[str]:
        held = self._held.forks(self._shard.name) if self._held is not None else frozenset()
        return held | facts.forks_of(self._points)

    def _is_good(self, verdict: Verdict) -> bool:
        if not verdict.is_good and self._lacked_since is None:
            self._lacked_since = time.monotonic()
        return verdict.is_good

    def _waited(self) -> float:
        return time.monotonic() - self._lacked_since if self._lacked_since is not None else 0.0


async def _put_back(opened: _Opened) -> None:
    await opened[0].aclose()


async def _until(deadline: float) -> AsyncIterator[None]:
    """Once at least, then after pauses that grow, until the time is up."""
    pause = _PAUSE_SECONDS_MIN
    while True:
        yield
        left = deadline - time.monotonic()
        if left <= 0:
            return
        await asyncio.sleep(min(pause, left))
        pause = min(2 * pause, _PAUSE_SECONDS_MAX)
