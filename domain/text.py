"""Free text that people give: names, addresses, references."""

from __future__ import annotations

import unicodedata


def check_text(text: str) -> str:
    """`text` unchanged, or ValueError: no control characters (Postgres stores no NUL, terminals obey escapes)
    and no lone surrogates (they have no UTF-8)."""
    for character in text:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            raise ValueError(f"expected no control characters, got {character!a}")
    return text


def first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")
