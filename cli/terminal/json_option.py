"""`--json` in the list of options that `--help` shows. The flag is taken from the line before a command is parsed."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.main import get_command

JSON_FLAG = "--json"


def add_json_option(command: Any) -> None:
    """Adds the option to the help of a command and of all below it. The flag itself never gets that far."""
    _add(command, _json_option())


def _add(command: Any, option: Any) -> None:
    command.params.append(option)
    for below in getattr(command, "commands", {}).values():
        _add(below, option)


def _json_option() -> Any:
    """Made by typer itself, since the arguments of its option class differ from version to version."""
    app = typer.Typer(add_completion=False)

    @app.command()
    def any_command(
        as_json: Annotated[
            bool, typer.Option(JSON_FLAG, expose_value=False, help="Print exactly one JSON document.")
        ] = False,
    ) -> None: ...

    return next(each for each in get_command(app).params if JSON_FLAG in each.opts)
