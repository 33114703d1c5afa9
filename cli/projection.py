"""`projection status`."""

from __future__ import annotations

import typer

from cli.projection_lag import status


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="The read model, and who follows the shards' events.", no_args_is_help=True)
    group.command()(status)
    app.add_typer(group, name="projection")
