"""A fingerprint of what was asked for: a repeat of a request is told from a conflict by it."""

from __future__ import annotations

import hashlib
import json


def hash_of_content(content: object) -> str:
    """Of plain JSON-like content; stable between processes and releases."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.blake2b(canonical.encode(), digest_size=16).hexdigest()
