"""The command line's commands. A topic is a module with `register(app)`, which adds its commands or a group of them.

A command prints through `cli.output.output()` and returns its exit code, or None for 0:

    0  done          1  a business rule says no, or a check failed
    2  wrong usage   3  something is down, or not finished in time

It raises `domain.errors.ShardwiseError` for what a person must know, and declares no `--json`: every command has it.
"""

from __future__ import annotations

import typer

from cli import account, demo, imports, migrate, order, recover, stack_commands, stock, transfer, verify, worker
from cli.contrast import command as contrast
from cli.watch import command as watch

TOPICS = (
    stack_commands,
    migrate,
    worker,
    imports,
    account,
    stock,
    order,
    transfer,
    contrast,
    watch,
    verify,
    recover,
    demo,
)


def build_app() -> typer.Typer:
    app = typer.Typer(
        name="shardwise",
        help=(
            "Orders, money transfers and read models as durable Temporal workflows over sharded Postgres. "
            "Every command takes --json and then prints exactly one document."
        ),
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def shardwise() -> None:
        """Without a callback an app of one command would lose the command's name."""

    for topic in TOPICS:
        topic.register(app)
    return app
