"""Checks that arguments have their declared types, since Python does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from domain.errors import InvalidInput
from domain.identifiers import shown

T = TypeVar("T")


def check_type(value: object, expected: type[T], field: str) -> T:
    """`value` unchanged, or `InvalidInput` naming `field`."""
    if isinstance(value, expected):
        return value
    raise InvalidInput(field, f"{field}: expected {_named(expected)}, got {shown(value)}")


def check_collection(values: Iterable[T], field: str, expected: str) -> Iterable[T]:
    """`values` unchanged: a collection of `expected`, not a text, or `InvalidInput`."""
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return values
    raise InvalidInput(field, f"{field}: expected {expected}, got {shown(values)}")


def _named(kind: type) -> str:
    name = "text" if kind is str else kind.__name__
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"
