"""Lists in pages: their options, and the hint for the next page."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from domain.limits import PAGE_ROWS_MAX

Limit = Annotated[int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="How many rows.")]
After = Annotated[str | None, typer.Option(metavar="TOKEN", help="The `next` of the page before: go on after it.")]


def with_next(rows: RenderableType, following: str | None) -> RenderableType:
    """The page, and the option to type for the next one."""
    return Group(rows, f"more: --after {following}") if following is not None else rows
