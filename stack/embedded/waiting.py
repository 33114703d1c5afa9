"""Polling, for what sends no event: another process's lock, its end, or its first answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

POLL_SECONDS = 0.03


async def attempts(seconds: float) -> AsyncIterator[None]:
    """One attempt at once, then one every few hundredths of a second, the last one after `seconds`. An attempt that
    takes long is followed by as long a pause, since the awaited process needs the processor too."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        began = clock()
        last = began >= deadline
        yield
        if last:
            return
        await asyncio.sleep(max(POLL_SECONDS, clock() - began))
