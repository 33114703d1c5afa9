"""The loops that follow one shard's outbox. Contract: `activities.interfaces.RelayActivities`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from temporalio import activity

from activities.effects import failures_translated, shard_of
from activities.interfaces import ConsumerPosition, Followed, FollowShard, RelayActivities
from activities.reactors import ReactorStarter
from domain.errors import ShardwiseError
from shards.comments.homing import Homing
from shards.connections.shard import Shard
from shards.outbox.following import Consumer, follow
from shards.outbox.lag import lag_of
from shards.outbox.slice import BEGINNING
from shards.outbox.trimming import Trimmer
from shards.projection.projector import Projector
from shards.routing.router import Router

HEARTBEAT_SECONDS = 1.0
# How often the listening connection is checked to be alive.
ALIVE_SECONDS = 5.0
# Only for show in the workflow's details: not worth a longer wait.
POSITIONS_SECONDS_MAX = 5.0

AssertAlive = Callable[[], Awaitable[None]]
Listen = Callable[[Callable[[], None]], AbstractAsyncContextManager[AssertAlive]]


class ShardedRelayActivities(RelayActivities):
    def __init__(self, router: Router, keep_seconds: float) -> None:
        """`keep_seconds`: how long events are kept after every consumer has taken them."""
        self._router = router
        self._keep_seconds = keep_seconds

    @activity.defn
    @failures_translated
    async def project_events(self, request: FollowShard) -> Followed:
        shard = await self._shard(request)
        projector = Projector(shard.primary, self._router.cluster.read_model)
        taken = await _follow([projector], shard.name, request.seconds, shard.listen)
        return await self._followed(shard, taken)

    @activity.defn
    @failures_translated
    async def start_reactors(self, request: FollowShard) -> Followed:
        shard = await self._shard(request)
        starter = ReactorStarter(shard.primary, activity.client())
        # Beside it, and not in an activity of its own, so that relays which run already do it too.
        homing = Homing(shard, self._router)
        taken = await _follow([starter, homing], shard.name, request.seconds, shard.listen)
        return await self._followed(shard, taken)

    @activity.defn
    @failures_translated
    async def trim_outbox(self, request: FollowShard) -> Followed:
        shard = await self._shard(request)
        trimmer = Trimmer(shard.primary, self._router.cluster.read_model, self._keep_seconds)
        return await self._followed(shard, await _follow([trimmer], shard.name, request.seconds, _not_listening))

    async def _followed(self, shard: Shard, taken: int) -> Followed:
        try:
            async with asyncio.timeout(POSITIONS_SECONDS_MAX):
                lag = await lag_of(shard.primary, self._router.cluster.read_model)
        except (ShardwiseError, TimeoutError):
            return Followed(taken, [])
        positions = [
            ConsumerPosition(name, each.position, each.events, round(each.seconds, 3), each.is_lost)
            for name, each in lag.by_consumer.items()
        ]
        return Followed(taken, positions, lag.trimmed if lag.trimmed != BEGINNING else None)

    async def _shard(self, request: FollowShard) -> Shard:
        await self._router.map()
        return shard_of(self._router.cluster, request.shard)


@asynccontextmanager
async def _not_listening(_: Callable[[], None]) -> AsyncIterator[AssertAlive]:
    """For a consumer that is not urgent: it only polls."""

    async def alive() -> None:
        pass

    yield alive


async def _follow(consumers: Sequence[Consumer], shard: str, seconds: float, listen: Listen) -> int:
    """How many events the first of the consumers has taken. One that is blocked does not hold up the others."""
    taken: dict[str, int] = {}
    notified = [asyncio.Event() for _ in consumers]

    def notify() -> None:
        for each in notified:
            each.set()

    async with listen(notify) as assert_alive:
        loops = [
            *(
                asyncio.create_task(follow(each, shard, of, taken))
                for each, of in zip(consumers, notified, strict=True)
            ),
            asyncio.create_task(_check_listening(assert_alive)),
            asyncio.create_task(_heartbeat(taken)),
        ]
        try:
            await _run_until_one_ends(loops, seconds)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
    return taken.get(consumers[0].name, 0)


async def _run_until_one_ends(loops: Sequence[asyncio.Task[None]], seconds: float) -> None:
    """Returns when the time is over or the worker shuts down; raises what a loop raises."""
    shutdown = asyncio.create_task(activity.wait_for_worker_shutdown())
    try:
        done, _ = await asyncio.wait([*loops, shutdown], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        shutdown.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await shutdown
    for each in done - {shutdown}:
        each.result()


async def _check_listening(assert_alive: AssertAlive) -> None:
    while True:
        await asyncio.sleep(ALIVE_SECONDS)
        await assert_alive()


async def _heartbeat(taken: dict[str, int]) -> None:
    while True:
        activity.heartbeat(taken)
        await asyncio.sleep(HEARTBEAT_SECONDS)
