"""How far a long command has come, shown on stderr while it works."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from rich.progress import MofNCompleteColumn, Progress

from cli.terminal.output import Output
from domain.progress import Report

LINE_EVERY_SECONDS = 5.0


@asynccontextmanager
async def running_beside(showing: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Runs `showing`, which has no end of its own, while the block runs."""
    task = asyncio.create_task(showing)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def print_lines(out: Output, so_far: Callable[[], str], every_seconds: float = LINE_EVERY_SECONDS) -> None:
    """For a file or a pipe, where no bar can be drawn: a line now and then shows that a long run is alive."""
    while True:
        await asyncio.sleep(every_seconds)
        out.progress(so_far())


@asynccontextmanager
async def progress_shown(out: Output) -> AsyncIterator[Report]:
    """Shows the progress that is reported: a bar on a terminal, otherwise a line now and then."""
    if out.stderr.is_terminal:
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        with Progress(*columns, console=out.stderr, transient=True) as bars:
            bar = bars.add_task("connecting", total=None)
            yield lambda what, done, total: bars.update(bar, description=what, completed=done, total=total)
        return
    so_far = "connecting"

    def report(what: str, done: int, total: int | None) -> None:
        nonlocal so_far
        so_far = f"{what}: {done}" if total is None else f"{what}: {done} of {total}"

    async with running_beside(print_lines(out, lambda: so_far)):
        yield report
