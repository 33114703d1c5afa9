"""A partition of a shard of the embedded stack: see `stack.embedded.partition`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from domain.documents import Document
from domain.errors import InvalidInput
from domain.numbers import check_seconds
from stack.embedded.partition import SECONDS_MAX, cut_off, heal, partition_of
from stack.settings import Settings

PAUSE_SECONDS = 0.1


class PartitionDocument(Document):
    """`seconds`: how long clients could not reach the shard."""

    shard: str
    seconds: float


async def partition(
    settings: Settings, shard: str, seconds: float, on_progress: Callable[[float], None]
) -> PartitionDocument:
    """See `Operations.partition`."""
    check_seconds(seconds, "for", above_zero=True, at_most=SECONDS_MAX)
    if settings.own_servers:
        message = "SHARDWISE_SHARDS names your own servers: only a shard of the embedded stack can be cut off"
        raise InvalidInput("SHARDWISE_SHARDS", message)
    began = time.monotonic()
    try:
        made = await cut_off(settings.data_dir, shard, seconds)
        while partition_of(settings.data_dir, shard) == made:
            on_progress(max(0.0, made.until - time.time()))
            await asyncio.sleep(PAUSE_SECONDS)
    except asyncio.CancelledError:
        heal(settings.data_dir, shard)
        raise
    return PartitionDocument(shard=shard, seconds=round(time.monotonic() - began, 1))
