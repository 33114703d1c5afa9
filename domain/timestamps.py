"""The one format of times, for programs and for people: ISO 8601 in UTC, with a Z.

    for a program   2026-01-31T14:30:00.123456Z   always with microseconds, as exact as Postgres keeps them
    for a person    2026-01-31T14:30:00Z          always without

Commands accept both. Days are written as days.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def timestamp(at: datetime) -> str:
    """For a program."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def short_timestamp(at: datetime) -> str:
    """For a person."""
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


Timestamp = Annotated[datetime, PlainSerializer(timestamp, when_used="json")]
"""The type of every time in a document."""


def _day(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Pydantic would read digits alone as seconds since 1970.
    if not _DAY.fullmatch(value):
        raise ValueError("expected a date such as '2026-01-31'")
    return date.fromisoformat(value)


Day = Annotated[date, BeforeValidator(_day)]
"""A day in ISO 8601 format only."""
