"""Workflows that live for ever: there whenever a worker is that can run them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from temporalio.service import RPCError

log = logging.getLogger("shardwise.worker")

# One that was terminated, or lost with Temporal's store, is back after this time.
LOOK_EVERY_SECONDS = 30.0

Start = Callable[[], Awaitable[None]]


async def keep(starts: Mapping[str, Start]) -> None:
    """Has them run, and looks after them until cancelled. Any number of workers may. `starts`: by workflow id, what
    starts it or joins it where it runs; may raise `RPCError`."""
    while True:
        for workflow_id, start in starts.items():
            try:
                await start()
            except RPCError as error:
                log.warning("%s could not be started: %s", workflow_id, error.message, extra={"workflow": workflow_id})
        await asyncio.sleep(LOOK_EVERY_SECONDS)


@asynccontextmanager
async def kept(starts: Mapping[str, Start]) -> AsyncIterator[None]:
    """`keep` inside the block."""
    keeping = asyncio.create_task(keep(starts))
    try:
        yield
    finally:
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping
