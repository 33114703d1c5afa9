"""`watch`: the installation at a glance, again every second."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import Annotated

import typer
from rich.live import Live

from cli.terminal.asking import ask
from cli.terminal.common import DataDir
from cli.terminal.escaped import Escaped
from cli.terminal.hints import tell_how_to_start
from cli.terminal.output import output
from cli.watch.page import Wrapped, page
from shardwise import Shardwise
from stack.settings import load_settings

REDRAW_SECONDS = 0.25


def register(app: typer.Typer) -> None:
    app.command()(watch)


def watch(
    interval: Annotated[float, typer.Option("--interval", min=0.2, max=3600, metavar="SECONDS")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="One look, which takes one interval, and out.")] = False,
    data_dir: DataDir = None,
) -> int:
    """Show what is up, orders and transfers by status, what waits and for how long, until Ctrl-C.

    Goes on, and shows it, while shards, Temporal or the catalog are away. One look with --once or --json, or where
    the output is no terminal; its exit code is as of `status`: 3 when a part is not up, 1 where a transaction is in
    doubt, or events wait, for too long.
    """
    out = output()
    if once or out.as_json or not out.stdout.is_terminal:
        look = ask(data_dir, lambda app: app.operations.look(interval))
        out.result(look, page(look))
        if any(part.up is False for part in look.parts):
            tell_how_to_start(load_settings(data_dir))
        return look.exit_code
    with suppress(KeyboardInterrupt):
        ask(data_dir, lambda app: _live(app, interval))
    return 0


async def _live(app: Shardwise, interval: float) -> None:
    """Until it is cancelled: by Ctrl-C, or by SIGTERM, so that the terminal is given back as it was."""
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
