"""Lists in pages: the options that all of them have, and how a page says where the next one begins."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from domain.limits import PAGE_ROWS_MAX

Limit = Annotated[int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="How many rows.")]
After = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="Go on where the page ended that told this as `next`.")
]


def with_next(rows: RenderableType, following: str | None) -> RenderableType:
    """For a person: the page, and what to type for the next one."""
    return Group(rows, f"more: --after {following}") if following is not None else rows
