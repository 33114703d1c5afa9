"""The key of something that is parked: its own key or, if that is too long for an index, its beginning and a digest.

Ids have at most 100 characters, so a longer key names no row: somebody wrote the event by hand.
"""

from __future__ import annotations

import hashlib

from domain.limits import IDENTIFIER_CHARS_MAX

_BEGINNING = 40


def parked_key(key: str) -> str:
    """At most 120 characters, different for different keys."""
    if len(key) <= IDENTIFIER_CHARS_MAX:
        return key
    return f"{key[:_BEGINNING]}… sha256:{hashlib.sha256(key.encode()).hexdigest()}"


def is_too_long(key: str) -> bool:
    return len(key) > IDENTIFIER_CHARS_MAX
