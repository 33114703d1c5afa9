"""How far a long command has come, told on stderr while it works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from cli.output import Output

LINE_EVERY_SECONDS = 5.0


@asynccontextmanager
async def beside(showing: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `showing`, which has no end of its own, while the block runs."""
    task = asyncio.create_task(showing)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def lines(out: Output, so_far: Callable[[], str], every_seconds: float = LINE_EVERY_SECONDS) -> None:
    """For a file or a pipe, where no bar can be drawn: a line now and then, so that a long run is seen to live."""
    while True:
        await asyncio.sleep(every_seconds)
        out.progress(so_far())
