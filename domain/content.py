"""A fingerprint of a request's content, which distinguishes a repeat of the request from a conflict."""

from __future__ import annotations

import hashlib
import json

# One for all: making an encoder costs more than most contents.
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def hash_of_content(content: object) -> str:
    """The hash of plain JSON-like content; stable between processes and releases."""
    return hashlib.blake2b(_CANONICAL.encode(content).encode(), digest_size=16).hexdigest()
