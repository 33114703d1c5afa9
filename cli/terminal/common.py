"""What commands share: options, settings, and running something asynchronous to its exit code."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from domain.errors import first_of
from domain.identifiers import shown
from domain.orders import Style

Result = TypeVar("Result")


def _folder(text: str) -> Path:
    """Empty, it would be the current folder: what a shell makes of a variable that is not set."""
    try:
        usable = text != "" and stat.S_ISDIR(os.stat(text).st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        usable = True  # So far: who makes or reads it knows more.
    except (OSError, ValueError):
        usable = False
    if not usable:
        raise typer.BadParameter(f"expected a folder, got {shown(text)}")
    return Path(text)


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="The stack's folder.  [default: SHARDWISE_DATA_DIR, else .shardwise]",
        show_default=False,
        metavar="<dir>",
        parser=_folder,
    ),
]
"""For every command that needs the stack: `data_dir: DataDir = None`, then `load_settings(data_dir)`."""


def command_as_typed() -> str:
    """How a shell finds this command: by its name, or, as `make` runs it, where it lies."""
    if shutil.which("shardwise"):
        return "shardwise"
    return shlex.quote(str(Path(sys.executable).with_name("shardwise")))


StyleOption = Annotated[
    Style, typer.Option(help="Led by one workflow, or carried on by services that react to events.")
]
"""For commands that place orders."""


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end. Ctrl-C cancels the work, lets it clean up, and raises KeyboardInterrupt.

    Of several errors at once, as a task group raises them, the first one comes out.
    """
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as several:
        raise first_of(several) from several
