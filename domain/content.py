"""A fingerprint of what was asked for: a repeat of a request is told from a conflict by it."""

from __future__ import annotations

import hashlib
import json

# One for all: making an encoder costs more than most contents.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def hash_of_content(content: object) -> str:
    """Of plain JSON-like content; stable between processes and releases."""
    return hashlib.blake2b(_CANONICAL.encode(content).encode(), digest_size=16).hexdigest()
