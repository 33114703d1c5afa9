"""The loop that follows one shard's outbox. Contract: `activities.interfaces.RelayActivities`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from temporalio import activity

from activities.effects import failures_told
from activities.interfaces import RelayActivities, Relayed, RelayOutbox
from activities.reactors import ReactorStarter
from shards.engines import Database
from shards.outbox_bell import heard
from shards.outbox_following import Consumer, follow
from shards.outbox_trimming import Trimmer
from shards.projection.projector import Projector
from shards.routing import Router

HEARTBEAT_SECONDS = 1.0
# How often the connection that hears the bell is asked whether it still is one.
ALIVE_SECONDS = 5.0


class ShardedRelayActivities(RelayActivities):
    def __init__(self, router: Router, keep_seconds: float) -> None:
        """`keep_seconds`: how long events are kept that everybody has taken."""
        self._router = router
        self._keep_seconds = keep_seconds

    @activity.defn(name="relay_outbox")
    @failures_told
    async def relay_outbox(self, request: RelayOutbox) -> Relayed:
        shard = self._router.cluster.shards[request.shard]
        taken: dict[str, int] = {}
        consumers = self._consumers(shard)
        rung = [asyncio.Event() for _ in consumers]

        def on_ring() -> None:
            for each in rung:
                each.set()

        listening = self._router.cluster.listening[request.shard]
        async with heard(listening.autocommit, on_ring) as assert_alive:
            loops = [
                asyncio.create_task(follow(consumer, shard.name, bell, taken))
                for consumer, bell in zip(consumers, rung, strict=True)
            ]
            loops.append(asyncio.create_task(_ask(assert_alive)))
            loops.append(asyncio.create_task(_beat(taken)))
            try:
                await _first_to_end(loops, request.seconds)
            finally:
                for loop in loops:
                    loop.cancel()
                await asyncio.gather(*loops, return_exceptions=True)
        return Relayed(taken)

    def _consumers(self, shard: Database) -> Sequence[Consumer]:
        read_model = self._router.cluster.read_model
        return [
            Projector(shard, read_model),
            ReactorStarter(shard, activity.client()),
            Trimmer(shard, read_model, self._keep_seconds),
        ]


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


async def _ask(assert_alive: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(ALIVE_SECONDS)
        await assert_alive()


async def _beat(taken: dict[str, int]) -> None:
    while True:
        activity.heartbeat(taken)
        await asyncio.sleep(HEARTBEAT_SECONDS)
