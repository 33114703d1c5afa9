"""Waiting with a limit that holds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def within(work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """`work`'s result, or TimeoutError after `seconds`, whether or not it lets itself be cancelled.

    A task of its own: the Temporal client turns its cancellation into errors of other kinds, which `asyncio.timeout`
    would take for failures.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        finished, _ = await asyncio.wait({task}, timeout=seconds)
        if not finished:
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
