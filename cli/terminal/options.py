"""Options that several commands have."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

import typer

from domain.consistency import Level
from domain.identifiers import shown
from domain.orders import Style


def _folder(text: str) -> Path:
    """Empty, it would be the current folder: what a shell makes of a variable that is not set."""
    try:
        usable = text != "" and stat.S_ISDIR(os.stat(text).st_mode)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        usable = True  # As far as is known here: whatever creates or reads the folder will find out.
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
"""For every command that needs the stack: `data_dir: DataDir = None`, then `call_app(data_dir, ...)`."""


StyleOption = Annotated[
    Style, typer.Option(help="Led by one workflow, or carried on by services that react to events.")
]
"""For commands that place orders."""


SessionFile = Annotated[
    Path | None,
    typer.Option(
        "--session",
        help="Keeps what this shell wrote and has seen, so that its later reads show it.  [default: SHARDWISE_SESSION]",
        show_default=False,
        metavar="<file>",
        envvar="SHARDWISE_SESSION",
        show_envvar=False,
    ),
]
"""For commands that write, or read at a level: `call_app(data_dir, ..., session)`."""


Strong = Annotated[Level | None, typer.Option("--consistency", help="What it must show.  [default: strong]")]
"""For reads that say what is true at this moment: `read_app(data_dir, ..., session, consistency)`."""

Following = Annotated[
    Level | None,
    typer.Option("--consistency", help="What it must show.  [default: read-your-writes with a session, else eventual]"),
]
"""For reads of what may be a little behind."""
