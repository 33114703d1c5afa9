"""Lists in pages: the options that all of them have, and how a page says where the next one begins."""

from __future__ import annotations

from typing import Annotated, TypeVar

import typer
from rich.console import Group, RenderableType

from domain.limits import PAGE_ROWS_MAX
from domain.page_tokens import PageToken
from shards.queries.pages import PageAfter

Key = TypeVar("Key")

LIMIT = 50

Limit = Annotated[int, typer.Option(min=1, max=PAGE_ROWS_MAX, help="How many rows.")]
After = Annotated[
    str | None, typer.Option(metavar="TOKEN", help="Go on where the page ended that told this as `next`.")
]


def page_after(token: PageToken[Key], limit: int, after: str | None) -> PageAfter[Key]:
    """`InvalidInput` naming `after` for what is no token of this list."""
    return PageAfter(limit, token.key(after) if after is not None else None)


def next_token(token: PageToken[Key], following: Key | None) -> str | None:
    """`following`: a page's `next`."""
    return token.text(following) if following is not None else None


def with_next(rows: RenderableType, following: str | None) -> RenderableType:
    """For a person: the page, and what to type for the next one."""
    return Group(rows, f"more: --after {following}") if following is not None else rows
