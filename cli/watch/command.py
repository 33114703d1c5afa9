"""`watch`: the installation at a glance, again every second."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Annotated

import typer
from rich.live import Live

from cli.terminal.application import call_app
from cli.terminal.escaped import Escaped
from cli.terminal.hints import print_start_hint
from cli.terminal.options import DataDir
from cli.terminal.output import output
from cli.watch.page import Wrapped, page
from shardwise import Shardwise
from stack.settings import load_settings

REDRAW_SECONDS = 0.25


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    interval: Annotated[float, typer.Option("--interval", min=0.2, max=3600, metavar="SECONDS")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, which takes one interval, and exit.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Show what is up, orders and transfers by status, what waits and for how long, until Ctrl-C.

    Goes on while shards, Temporal or the catalog are down, and shows that. Looks once with --once or --json, or if the
    output is no terminal; then the exit code is that of `status`: 3 if a part is not up, 1 if a transaction is in
    doubt, or events wait, for too long.
    """
    out = output()
    if once or out.as_json or not out.stdout.is_terminal:
        look = call_app(data_dir, lambda app: app.operations.look(interval))
        out.result(look, page(look))
        if any(part.up is False for part in look.parts):
            print_start_hint(load_settings(data_dir))
        return look.exit_code
    with suppress(KeyboardInterrupt):
        call_app(data_dir, lambda app: _live(app, interval))
    return 0


async def _live(app: Shardwise, interval: float) -> None:
    """Runs until Ctrl-C or SIGTERM cancels it, so that the terminal is restored."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    hint = f"every {interval:g} s, Ctrl-C ends"
    async with app.operations.watching(interval) as watcher:
        shown = Wrapped(Escaped(page(watcher.document(), hint)))
        with Live(shown, console=output().stdout, screen=True, auto_refresh=False) as live:
            while True:
                await asyncio.sleep(min(interval, REDRAW_SECONDS))
                live.update(Wrapped(Escaped(page(watcher.document(), hint))), refresh=True)
