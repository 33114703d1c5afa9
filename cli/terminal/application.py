"""How a command reaches the application: `call_app` connects, calls one of its services, and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from cli.terminal.hints import hint_if_stack_is_down
from domain.errors import first_of
from shardwise import Shardwise
from shardwise.connections import Installation
from stack.settings import Settings, load_settings

Result = TypeVar("Result")


def call_app(data_dir: Path | None, call: Callable[[Shardwise], Awaitable[Result]]) -> Result:
    """What `call` returns, on the installation that the settings and `data_dir` name."""
    return run_async(_call(load_settings(data_dir), call))


async def _call(settings: Settings, call: Callable[[Shardwise], Awaitable[Result]]) -> Result:
    with hint_if_stack_is_down(settings):
        # Not by `Shardwise.connect`: bad arguments must be reported even if there is no installation.
        async with Shardwise(Installation(settings)) as app:
            return await call(app)


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end. Ctrl-C cancels the work, lets it clean up, and raises KeyboardInterrupt.

    If several errors come at once, as a task group raises them, the first one is raised.
    """
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as several:
        raise first_of(several) from several
