"""Free text that people give: names, addresses, references."""

from __future__ import annotations

import unicodedata

from domain.argument_types import check_type
from domain.errors import InvalidInput
from domain.limits import NAME_CHARS_MAX

# Control characters (Postgres stores no NUL, terminals obey escapes), lone surrogates (they have no UTF-8), separators
# of lines and paragraphs.
_CATEGORIES = frozenset({"Cc", "Cs", "Zl", "Zp"})
# Embeddings, overrides and isolates: they reverse the text after them, in a table the other columns. The
# marks that right-to-left names need, and the joiners of scripts and emoji, are none of these.
_DIRECTIONS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def check_text(text: str) -> str:
    """`text` unchanged, or ValueError: no character that acts on the text around it."""
    if text.isascii() and text.isprintable():
        return text
    for character in text:
        if is_control(character):
            raise ValueError(f"expected no control characters, got {character!a}")
    return text


def check_free_text(text: str, field: str, chars_min: int = 0) -> str:
    """`text` unchanged, or `InvalidInput`: as long as a name may be, and no character that acts on its surroundings."""
    check_type(text, str, field)
    if not chars_min <= len(text) <= NAME_CHARS_MAX:
        raise InvalidInput(field, f"{field}: expected {chars_min} to {NAME_CHARS_MAX} characters, got {len(text)}")
    try:
        return check_text(text)
    except ValueError as error:
        raise InvalidInput(field, f"{field}: {error}") from None


def first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def printable(text: str) -> str:
    """`text` with every control character escaped; line ends stay."""
    return "".join(ascii(each)[1:-1] if is_control(each) and each != "\n" else each for each in text)


def on_one_line(text: str) -> str:
    """The same with line ends escaped too: for keys chosen by others, which are one word in a line."""
    return printable(text).replace("\n", "\\n")


def is_control(character: str) -> bool:
    return unicodedata.category(character) in _CATEGORIES or unicodedata.bidirectional(character) in _DIRECTIONS
