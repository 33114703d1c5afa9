"""Ids for orders and transfers that are placed without one."""

from __future__ import annotations

import secrets
import time


def new_id() -> str:
    """Sorts by the time it was made."""
    return f"{time.time_ns() // 1_000_000:013d}-{secrets.token_hex(6)}"
