"""A timeout that holds even if the work ignores its cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def within(work: Coroutine[Any, Any, Result], seconds: float) -> Result:
    """`work`'s result, or TimeoutError after `seconds`, whether or not the work reacts to its cancellation.

    It runs as a task of its own: the Temporal client turns a cancellation into other errors, which `asyncio.timeout`
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
