"""The loops that follow one shard's outbox. Contract: `activities.interfaces.RelayActivities`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from temporalio import activity

from activities.effects import database_of, failures_told
from activities.interfaces import Followed, FollowShard, RelayActivities, Standing
from activities.reactors import ReactorStarter
from domain.errors import ShardwiseError
from shards.engines import Database
from shards.outbox_bell import heard
from shards.outbox_following import Consumer, follow
from shards.outbox_lag import lag_of
from shards.outbox_stretch import BEGINNING
from shards.outbox_trimming import Trimmer
from shards.projection.projector import Projector
from shards.routing import Router

HEARTBEAT_SECONDS = 1.0
# How often the connection that hears the bell is asked whether it still is one.
ALIVE_SECONDS = 5.0
# Nobody waits for it: it is for who looks.
STANDING_SECONDS_MAX = 5.0

AssertAlive = Callable[[], Awaitable[None]]


class ShardedRelayActivities(RelayActivities):
    def __init__(self, router: Router, keep_seconds: float) -> None:
        """`keep_seconds`: how long events are kept that everybody has taken."""
        self._router = router
        self._keep_seconds = keep_seconds

    @activity.defn
    @failures_told
    async def project_events(self, request: FollowShard) -> Followed:
        shard = await self._shard(request)
        taken = await _follow(
            Projector(shard, self._router.cluster.read_model), shard, request.seconds, self._bell(shard)
        )
        return await self._followed(shard, taken)

    @activity.defn
    @failures_told
    async def start_reactors(self, request: FollowShard) -> Followed:
        shard = await self._shard(request)
        taken = await _follow(ReactorStarter(shard, activity.client()), shard, request.seconds, self._bell(shard))
        return await self._followed(shard, taken)

    @activity.defn
    @failures_told
    async def trim_outbox(self, request: FollowShard) -> Followed:
        shard = await self._shard(request)
        trimmer = Trimmer(shard, self._router.cluster.read_model, self._keep_seconds)
        return await self._followed(shard, await _follow(trimmer, shard, request.seconds, _no_bell))

    async def _followed(self, shard: Database, taken: int) -> Followed:
        try:
            async with asyncio.timeout(STANDING_SECONDS_MAX):
                lag = await lag_of(shard, self._router.cluster.read_model)
        except (ShardwiseError, TimeoutError):
            return Followed(taken, [])
        standing = [
            Standing(name, each.position, each.events, round(each.seconds, 3), each.is_lost)
            for name, each in lag.by_consumer.items()
        ]
        return Followed(taken, standing, lag.trimmed if lag.trimmed != BEGINNING else None)

    async def _shard(self, request: FollowShard) -> Database:
        await self._router.map()
        return database_of(self._router.cluster, request.shard)

    def _bell(self, shard: Database) -> Callable[[asyncio.Event], AbstractAsyncContextManager[AssertAlive]]:
        return lambda rung: heard(self._router.cluster.listening[shard.name].autocommit, rung.set)


@asynccontextmanager
async def _no_bell(_: asyncio.Event) -> AsyncIterator[AssertAlive]:
    """For what is in no hurry: it is asked by the clock alone."""

    async def alive() -> None:
        pass

    yield alive


async def _follow(
    consumer: Consumer,
    shard: Database,
    seconds: float,
    bell: Callable[[asyncio.Event], AbstractAsyncContextManager[AssertAlive]],
) -> int:
    taken: dict[str, int] = {}
    rung = asyncio.Event()
    async with bell(rung) as assert_alive:
        loops = [
            asyncio.create_task(follow(consumer, shard.name, rung, taken)),
            asyncio.create_task(_ask(assert_alive)),
            asyncio.create_task(_beat(taken)),
        ]
        try:
            await _first_to_end(loops, seconds)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
    return taken.get(consumer.name, 0)


async def _first_to_end(loops: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Until the time is over or the worker shuts down; raises what a loop raises."""
    shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        done, _ = await asyncio.wait([*loops, shutdown], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        shutdown.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shutdown
    for each in done - {shutdown}:
        each.result()


async def _ask(assert_alive: AssertAlive) -> None:
    while True:
        await asyncio.sleep(ALIVE_SECONDS)
        await assert_alive()


async def _beat(taken: dict[str, int]) -> None:
    while True:
        activity.heartbeat(taken)
        await asyncio.sleep(HEARTBEAT_SECONDS)
