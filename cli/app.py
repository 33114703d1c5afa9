"""The list of commands, and how to add one.

A command is one file, `cli/<command>.py`, or a folder with `command.py` if it needs more. To add one:

1. Write the file with `register(app)`, which adds the command, or a group of commands, to the typer app.
2. The command is a function. Its docstring is the help text; options that several commands have are in
   `cli.terminal.options` and `cli.terminal.paging`.
3. It gets what it needs by `call_app(data_dir, lambda app: app.<service>.<method>(...))`, or by `read_app` if it reads
   at a level, and prints one document by
   `output().result(document, text_for_a_person)`. Do not declare `--json`: every command has it.
4. It returns its exit code, or None for 0. For an error it raises `domain.errors.ShardwiseError`, which has a code:

       0  done          1  a business rule says no, or a check failed
       2  wrong usage   3  something is down, or not finished in time

5. Add the module to `MODULES` below, and describe the command in the documents.

`cli/stock.py` is a short example. `cli/terminal/` holds what all commands share: calling the application, output,
tables, progress, options, and messages about wrong usage. `cli/sample/` holds files to try the imports with.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from cli.version import VERSION_FLAG, print_version

# The commands and groups that each module registers. A module is loaded only when one of its commands is typed, since
# what the others need takes longer to load than most commands take; all are loaded for `--help`.
MODULES = {
    "cli.embedded_stack": ("up", "down", "status"),
    "cli.migrate": ("migrate",),
    "cli.partition": ("partition",),
    "cli.worker": ("worker",),
    "cli.imports.command": ("import",),
    "cli.account": ("account",),
    "cli.stock": ("stock",),
    "cli.customer": ("customer",),
    "cli.profile": ("profile",),
    "cli.product": ("product",),
    "cli.comment": ("comment",),
    "cli.report": ("report",),
    "cli.order.command": ("order",),
    "cli.transfer": ("transfer",),
    "cli.lock": ("lock",),
    "cli.reads": ("reads",),
    "cli.contrast": ("contrast",),
    "cli.projection.command": ("projection",),
    "cli.watch.command": ("watch",),
    "cli.verify": ("verify",),
    "cli.recover.command": ("recover",),
    "cli.demo.command": ("demo",),
}


def build_app(wanted: str | None = None) -> typer.Typer:
    """With the module of the command that is `wanted`; with all modules if there is no such command, or none is
    given."""
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
            bool, typer.Option(VERSION_FLAG, help="Show the version.", is_eager=True, callback=_version)
        ] = False,
    ) -> None:
        """Without a callback, typer drops the command's name from an app that has only one command."""

    for module in [module for module, commands in MODULES.items() if wanted in commands] or MODULES:
        import_module(module).register(app)
    return app


def _version(wanted: bool) -> None:
    if wanted:
        print_version()
        raise typer.Exit
