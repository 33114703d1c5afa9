"""A choice among named values."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from domain.errors import InvalidInput
from domain.identifiers import shown

Choice = TypeVar("Choice", bound=StrEnum)


def choice(of: type[Choice], given: str, field: str) -> Choice:
    """The member that `given` is or names, or `InvalidInput`."""
    try:
        return of(given)
    except ValueError:
        raise InvalidInput(field, f"{field}: expected one of {', '.join(of)}, got {shown(given)}") from None
