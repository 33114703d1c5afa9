"""The four services of choreographed orders in this process: their workers, and what starts their reactors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from temporalio.client import Client

from activities.reactors import ReactorStarter
from domain.choreography import Service
from domain.errors import ShardwiseError
from shards.outbox.following import GATHER_SECONDS
from shards.routing.router import Router
from stack.settings import Settings
from workers.run import new_worker

IDLE_SECONDS = 0.1


@contextlib.asynccontextmanager
async def services(client: Client, router: Router, settings: Settings) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as workers:
        for service in Service:
            await workers.enter_async_context(new_worker(client, router, settings, service))
        yield


@contextlib.asynccontextmanager
async def followed(starters: Sequence[ReactorStarter]) -> AsyncIterator[None]:
    """Inside the block the outboxes are followed, as the relay does it."""
    following = [asyncio.create_task(_follow(starter)) for starter in starters]
    try:
        yield
    finally:
        for each in following:
            each.cancel()
        ended = await asyncio.gather(*following, return_exceptions=True)
    for each in ended:
        if isinstance(each, Exception):
            raise each


async def _follow(starter: ReactorStarter) -> None:
    while True:
        events = 0
        with contextlib.suppress(ShardwiseError):
            events = (await starter.take_next()).events
        await asyncio.sleep(GATHER_SECONDS if events else IDLE_SECONDS)
