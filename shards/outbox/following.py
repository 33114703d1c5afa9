"""Follows an outbox: calls a consumer at once while there are events, and rarely while there are none."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from domain.errors import ShardwiseError
from shards.outbox.slice import Taken

log = logging.getLogger("shardwise.relay")

# A pause after each slice, so that the next one holds several events: each slice costs transactions on two servers.
GATHER_SECONDS = 0.02
# While an open transaction hides events: if it ends without events of its own, no notification follows.
HIDDEN_SECONDS_MIN, HIDDEN_SECONDS_MAX = 0.02, 1.0
FAILED_SECONDS_MIN, FAILED_SECONDS_MAX = 0.1, 2.0
# In case a notification was lost.
POLL_SECONDS = 5.0


class Consumer(Protocol):
    """Takes events. `take_next` takes the next slice, if any; it is called again after any error of ours."""

    name: str

    async def take_next(self) -> Taken: ...


async def follow(consumer: Consumer, shard: str, notified: asyncio.Event, taken: dict[str, int]) -> None:
    """Calls the consumer until cancelled. The caller sets `notified` at each notification; `taken` counts events by
    consumer."""
    hidden, failed = HIDDEN_SECONDS_MIN, FAILED_SECONDS_MIN
    last_failure: str | None = None
    while True:
        notified.clear()
        try:
            taken_now = await consumer.take_next()
        except ShardwiseError as error:
            if last_failure != error.message:
                last_failure = error.message
                log.warning("%s: %s", consumer.name, error.message, extra={"code": error.code, "shard": shard})
            await asyncio.sleep(failed)
            failed = min(2 * failed, FAILED_SECONDS_MAX)
            continue
        if last_failure is not None:
            log.info("%s goes on", consumer.name, extra={"shard": shard})
        last_failure, failed = None, FAILED_SECONDS_MIN
        taken[consumer.name] = taken.get(consumer.name, 0) + taken_now.events
        if taken_now.events:
            hidden = HIDDEN_SECONDS_MIN
            await asyncio.sleep(GATHER_SECONDS)
        elif taken_now.more:
            await asyncio.sleep(hidden)
            hidden = min(2 * hidden, HIDDEN_SECONDS_MAX)
        else:
            hidden = HIDDEN_SECONDS_MIN
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(notified.wait(), POLL_SECONDS)
