"""How a moment is written, wherever a program or a person reads one: ISO 8601 in UTC, with a Z.

    for a program   2026-01-31T14:30:00.123456Z   always with microseconds, as exact as Postgres keeps them
    for a person    2026-01-31T14:30:00Z          always without

Both can be typed where a command takes a time. Days are written as days.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import PlainSerializer


def timestamp(at: datetime) -> str:
    """For a program."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def short_timestamp(at: datetime) -> str:
    """For a person."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


Timestamp = Annotated[datetime, PlainSerializer(timestamp, when_used="json")]
"""A moment in a document: every one of them is of this type."""
