"""Keyset pagination: a page starts after the last row of the previous one, so new rows do not shift it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from domain.limits import PAGE_ROWS_MAX
from domain.numbers import check_whole
from domain.page_tokens import PageToken

Row = TypeVar("Row")
Key = TypeVar("Key")


@dataclass(frozen=True, slots=True)
class PageAfter(Generic[Key]):
    """At most `limit` rows after the row whose key is `after`; from the beginning if that is None."""

    limit: int
    after: Key | None = None

    @property
    def rows_read(self) -> int:
        """One more than is shown, to see whether there is another page."""
        return self.limit + 1


@dataclass(frozen=True, slots=True)
class Page(Generic[Row, Key]):
    """`next`: the key after which the next page starts; None if this is the last page."""

    rows: tuple[Row, ...]
    next: Key | None


def page_of(found: Sequence[Row], wanted: PageAfter[Key], key: Callable[[Row], Key]) -> Page[Row, Key]:
    """`found`: up to `wanted.rows_read` rows."""
    shown = tuple(found[: wanted.limit])
    return Page(shown, key(shown[-1]) if len(found) > len(shown) else None)


def page_after(token: PageToken[Key], limit: int, after: str | None) -> PageAfter[Key]:
    """`InvalidInput` names `limit` if it is out of range, or `after` if it is no token of this list."""
    check_whole(limit, "limit", 1, PAGE_ROWS_MAX)
    return PageAfter(limit, token.key(after) if after is not None else None)


def next_token(token: PageToken[Key], following: Key | None) -> str | None:
    """`following`: a page's `next`."""
    return token.text(following) if following is not None else None
