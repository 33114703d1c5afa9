"""JSON as it comes in from people: an object names each of its fields once."""

from __future__ import annotations

import json

from domain.errors import InvalidInput
from domain.identifiers import shown


def parse_json(text: str | bytes, field: str | None = None) -> object:
    """What the text says, or `InvalidInput` for no JSON and for a name given twice: readers differ in which of the two
    counts, so none does."""
    try:
        return json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise InvalidInput(field, f"{field}: {reason}" if field else reason) from None


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"expected each field once, got {shown(twice)} twice")
    return found
