"""Asks the installation what a command wants to know."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from cli.terminal.common import run_async
from cli.terminal.hints import hinting_at_up
from shardwise import Shardwise
from shardwise.connections import Opened
from stack.settings import Settings, load_settings

Result = TypeVar("Result")


def ask(data_dir: Path | None, question: Callable[[Shardwise], Awaitable[Result]]) -> Result:
    """The answer of the installation that the settings and `data_dir` name."""
    return run_async(_asked(load_settings(data_dir), question))


async def _asked(settings: Settings, question: Callable[[Shardwise], Awaitable[Result]]) -> Result:
    with hinting_at_up(settings):
        # Not by `connect`: what is wrong with the question is told also where there is nobody to ask.
        async with Shardwise(Opened(settings)) as app:
            return await question(app)
