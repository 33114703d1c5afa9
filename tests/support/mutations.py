"""A valid document, broken in one place at a time: whatever its type says must be there, and of which kind."""

from __future__ import annotations

import copy
import dataclasses
import types
import typing
from collections.abc import Iterator
from datetime import date
from enum import Enum
from typing import Any

from domain.money import Money

Path = tuple[str | int, ...]

MISSING = object()
_IDS = ("order_id", "customer_id", "sku", "transfer_id", "source", "target", "batch_id", "shard")
_BAD_IDS = ("", "a b", "a/b", "Zoë")
_BAD_TEXTS = ("a\0b", "x" * 10_001)
_BAD_MONEY = ("", "1.00", "1 USD", "1.00 XXX", "-1.00 USD", "1e3 USD", "99999999999999999999.00 USD", "1.00  USD")
# No limit of ours is as large, and no count or time is below zero.
_BAD_NUMBERS = (-1, 10**30)
# Of an exception's text, which may be long.
_ANY_LENGTH = ("detail",)


def mutations(kind: Any, document: Any) -> Iterator[tuple[str, Any]]:
    """What was broken, and the resulting document. A workflow may be started with none of them."""
    for path, instead in _broken(kind, document, ()):
        yield f"{'.'.join(map(str, path)) or 'all'}: {_named(instead)}", _changed(document, path, instead)


def _broken(kind: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    kind, nullable = _without_none(kind)
    if not nullable:
        yield path, None
    if value is None:
        yield path, 7
        return
    for instead in _other_types(kind, value):
        yield path, instead
    yield from _bad_values(kind, value, path)
    yield from _inside(kind, value, path)


def _inside(kind: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if kind is not Money and dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        yield (*path, "surprise"), 1
        for field in dataclasses.fields(kind):
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required:
                yield (*path, field.name), MISSING
            if field.name in value:
                yield from _broken(hints[field.name], value[field.name], (*path, field.name))
    elif typing.get_origin(kind) is tuple:
        for n, each in enumerate(value):
            yield from _broken(typing.get_args(kind)[0], each, (*path, n))
    elif typing.get_origin(kind) is dict:
        for name, each in value.items():
            yield from _broken(typing.get_args(kind)[1], each, (*path, name))


def _other_types(kind: Any, value: Any) -> tuple[Any, ...]:
    match value:
        case bool():
            return "x", 7, "true", [1], {}
        case str():
            return 7, True, ["x"], {}
        case int() | float():
            whole = () if kind is float else (1.5,)
            # One of an IntEnum's, to pydantic: true is 1.
            true = () if isinstance(kind, type) and issubclass(kind, Enum) else (True,)
            return ("x", [1], str(value), *whole, *true)
        case list():
            return "x", {}, 1
        case _:
            return "x", [], 1


def _bad_values(kind: Any, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    name = path[-1] if path else ""
    if kind is Money:
        yield from ((path, each) for each in _BAD_MONEY)
    elif kind is date:
        yield from ((path, each) for each in ("", "2026-02-30", "31.01.2026", "2026-01-31T00:00:00"))
    elif isinstance(value, str):
        yield path, _BAD_TEXTS[0]
        if name not in _ANY_LENGTH:
            yield path, _BAD_TEXTS[1]
        if name in _IDS:
            yield from ((path, each) for each in _BAD_IDS)
        if isinstance(kind, type) and issubclass(kind, Enum):
            yield path, "nothing of the kind"
    elif isinstance(value, int | float):
        yield from ((path, each) for each in _BAD_NUMBERS)


def _without_none(kind: Any) -> tuple[Any, bool]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        given = [each for each in typing.get_args(kind) if each is not type(None)]
        return given[0], True
    return kind, False


def _changed(document: Any, path: Path, instead: Any) -> Any:
    if not path:
        return instead
    made = copy.deepcopy(document)
    inner = made
    for step in path[:-1]:
        inner = inner[step]
    if instead is MISSING:
        del inner[path[-1]]
    else:
        inner[path[-1]] = instead
    return made


def _named(instead: Any) -> str:
    return "missing" if instead is MISSING else ascii(instead)[:40]
