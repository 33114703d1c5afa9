"""`worker`: host task queues until told to stop."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli.terminal.common import DataDir
from cli.terminal.hints import hinting_at_up
from cli.terminal.output import output
from stack.settings import load_settings


def register(app: typer.Typer) -> None:
    app.command()(worker)


def worker(
    queue: Annotated[
        list[str] | None, typer.Option("--queue", help="Task queue to host; repeatable. [all]", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Option(help="Shown in the Temporal UI as the worker's identity.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Run workflows and activities until SIGTERM, then finish what was begun and leave."""
    import uvloop

    from workers.run import run_worker

    settings = load_settings(data_dir)
    with hinting_at_up(settings), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_worker(settings, queue or [], name))
    output().result({"stopped": True}, "stopped")
