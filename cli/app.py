"""The command line's commands. A topic is a module with `register(app)`, which adds its commands or a group of them.

A command prints through `cli.terminal.output.output()` and returns its exit code, or None for 0:

    0  done          1  a business rule says no, or a check failed
    2  wrong usage   3  something is down, or not finished in time

A topic is loaded when one of its commands is typed: what the others need takes longer to load than most commands take.

It raises `domain.errors.ShardwiseError` for what a person must know, and declares no `--json`: every command has it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from cli.version import VERSION_FLAG, tell_version

# By topic, the commands and groups that it registers. All of them are loaded only for who asks what there is.
TOPICS = {
    "cli.stack_commands": ("up", "down", "status"),
    "cli.migrate": ("migrate",),
    "cli.worker": ("worker",),
    "cli.imports.group": ("import",),
    "cli.account": ("account",),
    "cli.stock": ("stock",),
    "cli.customer": ("customer",),
    "cli.product": ("product",),
    "cli.report": ("report",),
    "cli.orders.order": ("order",),
    "cli.transfer": ("transfer",),
    "cli.contrast": ("contrast",),
    "cli.projection": ("projection",),
    "cli.watch.command": ("watch",),
    "cli.verify": ("verify",),
    "cli.recover": ("recover",),
    "cli.demo.command": ("demo",),
}


def build_app(wanted: str | None = None) -> typer.Typer:
    """With the topic of the command that is `wanted`; with all of them where there is no such command, or none."""
    app = typer.Typer(
        name="shardwise",
        help=(
            "Orders, money transfers and read models as durable Temporal workflows over sharded Postgres. "
            "Every command takes --json and then prints exactly one document. Every command but demo takes --data-dir "
            "for another stack than the one in .shardwise of the current folder."
        ),
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )

    @app.callback()
    def shardwise(
        version: Annotated[
            bool, typer.Option(VERSION_FLAG, help="Tell the version.", is_eager=True, callback=_version)
        ] = False,
    ) -> None:
        """Without a callback an app of one command would lose the command's name."""

    for topic in [topic for topic, commands in TOPICS.items() if wanted in commands] or TOPICS:
        import_module(topic).register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        tell_version()
        raise typer.Exit
