"""Bugs that are planted into the product while a block runs: what finds none of them proves nothing of the product.

| bug | what is broken | who finds it |
| --- | --- | --- |
| token | a session's points are not demanded | the scans: own write missed, went back |
| strong | strong reads of rows go to replicas | the scans: stale strong read |
| xid | a primary is not asked whether it shows yet what replicas do | `probe` |
| returning | an outcome is stamped in its own transaction, before the commit | the scans, where replay is delayed |
| fork | positions of different histories are compared as numbers | the test of a promotion that loses a write |
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import TypeVar
from unittest.mock import patch

import shardwise.reading
from domain import serving
from domain.consistency import NO_POINTS, Level, Point, Points, Session
from domain.histories import Lineage, Standing
from shards.connections.shard import Shard
from shards.reading import facts, lists, shard_reads, stamping
from shards.reading.facts import Stamp
from shards.reading.held_session import HeldSession
from shards.reading.shard_reads import ShardReads
from shards.routing.shard_transaction import ShardTransaction

T = TypeVar("T")


@contextmanager
def token_ignored() -> Iterator[None]:
    def nothing(level: Level, session: Session, fresh: Points = NO_POINTS) -> Points:
        return fresh

    with patch.object(shard_reads, "demanded", nothing), patch.object(lists, "demanded", nothing):
        yield


@contextmanager
def strong_from_replicas() -> Iterator[None]:
    of_product = ShardReads.read

    async def read(
        self: ShardReads,
        route_of: Callable[..., object],
        work: Callable[[ShardTransaction], Awaitable[T]],
        level: Level,
        held: HeldSession | None = None,
    ) -> T:
        weaker = Level.EVENTUAL if level is Level.STRONG else level
        return await of_product(self, route_of, work, weaker, held)  # type: ignore[arg-type]

    with patch.object(ShardReads, "read", read):
        yield


@contextmanager
def xids_unchecked() -> Iterator[None]:
    def of_primary(points: Iterable[Point], found: serving.PrimaryFacts) -> serving.Verdict:
        all_ended = replace(found, running=(), snapshot_xmax=2**63)
        return serving.of_primary(points, all_ended)

    with patch.object(shard_reads, "of_primary", of_primary):
        yield


_in_returning: ContextVar[Stamp | None] = ContextVar("stamp_in_returning", default=None)


@contextmanager
def stamped_in_returning() -> Iterator[None]:
    of_product = ShardTransaction.finish

    async def finish(self: ShardTransaction) -> None:
        await of_product(self)
        _in_returning.set(await facts.stamp_primary(self.connection, ()))

    async def stamp_outcome(shards: Iterable[Shard], held: HeldSession, is_final: bool = True) -> None:
        before = held.session
        for shard in shards:
            early, now = _in_returning.get(), await stamping.stamp(shard, held.forks(shard.name))
            assert early is not None
            held.wrote(shard.name, before, replace(now, point=replace(now.point, lsn=early.point.lsn)))

    with (
        patch.object(ShardTransaction, "finish", finish),
        patch.object(shardwise.reading, "stamp_outcome", stamp_outcome),
    ):
        yield


@contextmanager
def forks_ignored() -> Iterator[None]:
    def standing(self: Lineage, fork: str, lsn: int) -> Standing:
        return Standing.HERE

    with patch.object(Lineage, "standing", standing):
        yield


PLANTED: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "token": token_ignored,
    "strong": strong_from_replicas,
    "xid": xids_unchecked,
    "returning": stamped_in_returning,
    "fork": forks_ignored,
}
