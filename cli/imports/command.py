"""The group `import`: a module for each kind of file, with `register(group)`."""

from __future__ import annotations

import typer

from cli.imports import catalogue, orders, transfers

KINDS = (catalogue, orders, transfers)


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Read customers, products, orders and transfers from files.", no_args_is_help=True)
    for kind in KINDS:
        kind.register(group)
    app.add_typer(group, name="import")
