"""Keeps workflows running that live for ever, while a worker can run them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from temporalio.service import RPCError

log = logging.getLogger("shardwise.worker")

# A workflow that was terminated, or lost with Temporal's store, is started again after at most this time.
LOOK_EVERY_SECONDS = 30.0

Start = Callable[[], Awaitable[None]]


async def keep_running(starts: Mapping[str, Start]) -> None:
    """Starts the workflows, again and again until cancelled. Any number of workers may do so at once. `starts`: by
    workflow id, a function that starts it, or joins it if it runs; it may raise `RPCError`."""
    while True:
        for workflow_id, start in starts.items():
            try:
                await start()
            except RPCError as error:
                log.warning("%s could not be started: %s", workflow_id, error.message, extra={"workflow": workflow_id})
        await asyncio.sleep(LOOK_EVERY_SECONDS)


@asynccontextmanager
async def kept_running(starts: Mapping[str, Start]) -> AsyncIterator[None]:
    """`keep_running` inside the block."""
    keeping = asyncio.create_task(keep_running(starts))
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
