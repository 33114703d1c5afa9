"""Progress where there is no terminal."""

from __future__ import annotations

import asyncio
import io

from rich.console import Console

from cli.terminal.output import Output
from cli.terminal.progress import print_lines, running_beside


async def test_lines_show_how_far_it_is_while_the_work_runs_and_stop_with_it() -> None:
    file = io.StringIO()
    out = Output(stderr=Console(file=file))
    done = 0
    async with asyncio.timeout(10), running_beside(print_lines(out, lambda: f"{done} of 3", every_seconds=0.001)):
        while "3 of 3" not in file.getvalue():
            done = min(done + 1, 3)
            await asyncio.sleep(0.001)
    written = file.getvalue()
    running = [task.get_coro().__qualname__ for task in asyncio.all_tasks()]

    assert written.splitlines()[0].endswith(" of 3")
    assert print_lines.__qualname__ not in running
