"""`worker`: host task queues until a signal stops it."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from cli.terminal.hints import hint_if_stack_is_down
from cli.terminal.options import DataDir
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
    """Run workflows and activities until SIGTERM, then finish what was begun and exit."""
    import uvloop

    from workers.run import run_worker

    settings = load_settings(data_dir)
    with hint_if_stack_is_down(settings), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run_worker(settings, queue or [], name))
    output().result({"stopped": True}, "stopped")
