"""Under which key something is left aside: its own or, where an index might not hold that, its beginning and a digest.

Ids have at most 100 characters, so what is shortened names no row: somebody wrote the event by hand.
"""

from __future__ import annotations

import hashlib

from domain.limits import IDENTIFIER_CHARS_MAX

_BEGINNING = 40


def parked_key(key: str) -> str:
    """Of at most 120 characters; two keys never have the same."""
    if len(key) <= IDENTIFIER_CHARS_MAX:
        return key
    return f"{key[:_BEGINNING]}… sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def is_too_long(key: str) -> bool:
    return len(key) > IDENTIFIER_CHARS_MAX
