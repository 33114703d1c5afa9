"""Pydantic's errors in the words of our own rules: what was expected, and what was given."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic_core import ErrorDetails

from domain.identifiers import shown

# By pydantic's kinds of fault; `{}` is what the fault names.
_EXPECTED: Mapping[str, str] = {
    "string_type": "text in quotes",
    "string_too_short": "at least {min_length} character(s)",
    "string_too_long": "at most {max_length} character(s)",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "literal_error": "{expected}",
    "enum": "{expected}",
    "date_type": "a date such as '2026-01-31'",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "an object",
}
# These are about a name and not about its value.
_ABOUT_FIELDS: Mapping[str, str] = {
    "missing": "this field is required",
    "missing_argument": "this field is required",
    "unexpected_keyword_argument": "there is no such field",
    "extra_forbidden": "there is no such field",
}
_JSON_FAULT = re.compile(r"(?P<what>.*) at line \d+ column (?P<column>\d+)")


def described(fault: ErrorDetails, show_input: bool = True) -> str:
    """One sentence without the field's name. `show_input` false: the input may be a secret."""
    kind = fault["type"]
    if kind == "value_error":
        return str(fault["ctx"]["error"]).rstrip(".")
    if kind in _ABOUT_FIELDS:
        return _ABOUT_FIELDS[kind]
    got = f", got {_shown(fault['input'])}" if show_input else ""
    if kind == "json_invalid":
        return f"expected JSON{got} ({_where(str(fault['ctx']['error']))})"
    if kind in _EXPECTED:
        return f"expected {_EXPECTED[kind].format(**_named(fault))}{got}"
    return fault["msg"][:1].lower() + fault["msg"][1:] + got


def _where(what: str) -> str:
    found = _JSON_FAULT.fullmatch(what)
    if found is None:
        return what
    if "EOF" in found["what"]:
        return "it ends too early"
    return "nested too deeply" if "recursion" in found["what"] else f"wrong from column {found['column']} on"


def _shown(value: object) -> str:
    return shown(value.decode(errors="backslashreplace") if isinstance(value, bytes) else value)


def _named(fault: ErrorDetails) -> Mapping[str, str]:
    named = fault.get("ctx", {})
    return {name: f"{each:.15g}" if isinstance(each, float) else str(each) for name, each in named.items()}
