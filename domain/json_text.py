"""Parses JSON input: an object has each of its fields once, and an error is one sentence."""

from __future__ import annotations

import json

from pydantic import ValidationError

from domain.errors import InvalidInput
from domain.faults import described
from domain.identifiers import shown
from domain.limits import IDENTIFIER_CHARS_MAX


def parse_json(text: str | bytes, field: str | None = None) -> object:
    """The value of the text. `InvalidInput` if it is not JSON, or if an object has a field twice: parsers differ in
    which of the two they keep, so neither is accepted."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        reason = _reason(error)
        raise InvalidInput(field, f"{field}: {reason}" if field else reason) from None


def _reason(error: Exception) -> str:
    """Without the text itself, which may be a secret."""
    if isinstance(error, json.JSONDecodeError):
        return f"expected JSON (wrong from column {error.colno} on)"
    return str(error) if isinstance(error, ValueError) else "expected JSON (nested too deeply)"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"expected each field once, got {shown(twice)} twice")
    return found


def first_fault(error: ValidationError) -> InvalidInput:
    """Pydantic's first error as ours; the others are mostly consequences of it."""
    fault = error.errors(include_url=False)[0]
    field = ".".join(_printable(part) for part in fault["loc"]) or None
    return InvalidInput(field, f"{field}: {described(fault)}" if field else described(fault))


def _printable(part: str | int) -> str:
    """The name of an unknown field may be any text."""
    text = str(part)
    return text if text.isidentifier() and len(text) <= IDENTIFIER_CHARS_MAX else shown(part)
