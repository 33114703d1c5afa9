"""JSON as it comes in: an object names each of its fields once, and what is wrong with it is told in one sentence."""

from __future__ import annotations

import json

from pydantic import ValidationError

from domain.errors import InvalidInput
from domain.identifiers import shown
from domain.limits import IDENTIFIER_CHARS_MAX


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


# A dataclass is a function to pydantic, and its fields are arguments: no words for who writes JSON.
_ABOUT_FIELDS = {
    "missing": "this field is required",
    "missing_argument": "this field is required",
    "unexpected_keyword_argument": "there is no such field",
    "extra_forbidden": "there is no such field",
}


def first_fault(error: ValidationError) -> InvalidInput:
    """pydantic's first complaint as ours; the others would mostly be its consequences."""
    fault = error.errors(include_url=False)[0]
    field = ".".join(_printable(part) for part in fault["loc"]) or None
    explained = {"json_invalid", "value_error", *_ABOUT_FIELDS}  # their message says what was found
    wrong = "" if fault["type"] in explained else f", got {shown(fault['input'])}"
    message = str(fault["ctx"]["error"]) if fault["type"] == "value_error" else fault["msg"]
    message = _ABOUT_FIELDS.get(fault["type"], message)
    message = message[0].lower() + message[1:].replace("at line 1 column", "at column")
    return InvalidInput(field, f"{field}: {message}{wrong}" if field else f"{message}{wrong}")


def _printable(part: str | int) -> str:
    """The name of an unknown field is whatever somebody wrote."""
    text = str(part)
    return text if text.isidentifier() and len(text) <= IDENTIFIER_CHARS_MAX else shown(part)
