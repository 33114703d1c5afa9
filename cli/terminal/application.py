"""How a command reaches the application: `call_app` connects, calls one of its services, and closes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from cli.terminal.hints import hint_if_stack_is_down
from cli.terminal.output import output
from cli.terminal.served import described
from cli.terminal.session_file import kept_session
from domain.errors import first_of
from shardwise import Level, Session, Shardwise
from shardwise.connections import Installation
from shardwise.reading import recording
from stack.settings import Settings, load_settings

Result = TypeVar("Result")


def call_app(
    data_dir: Path | None, call: Callable[[Shardwise], Awaitable[Result]], session: Path | None = None
) -> Result:
    """What `call` returns, on the installation that the settings and `data_dir` name, within the session that the file
    `session` holds."""
    settings = load_settings(data_dir)
    if session is None:
        return run_async(_call(settings, call, None))
    with kept_session(session) as kept:
        return run_async(_call(settings, call, kept))


def read_app(
    data_dir: Path | None,
    call: Callable[[Shardwise], Awaitable[Result]],
    session: Path | None,
    consistency: Level | None,
) -> Result:
    """`call_app` for commands that read at a level. Says where it was read from, if a level was asked for."""
    found = call_app(data_dir, call, session)
    if consistency is not None and not output().as_json:
        output().progress(described(output().served))
    return found


async def _call(settings: Settings, call: Callable[[Shardwise], Awaitable[Result]], session: Session | None) -> Result:
    with hint_if_stack_is_down(settings), recording() as served:
        output().served = served
        # Not by `Shardwise.connect`: bad arguments must be reported even if there is no installation.
        async with Shardwise(Installation(settings), session) as app:
            return await call(app)


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end. Ctrl-C cancels the work, lets it clean up, and raises KeyboardInterrupt.

    If several errors come at once, as a task group raises them, the first one is raised.
    """
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as several:
        raise first_of(several) from several
