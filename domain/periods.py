"""Days and times as people type them. Days are UTC's, and a period ends before its end."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

from domain.errors import InvalidInput
from domain.identifiers import shown

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9:.]{5,15}(Z|[+-][0-9]{2}:[0-9]{2})?", re.ASCII)


def parse_day(text: str, field: str) -> date:
    """A day written as 2026-01-31, or `InvalidInput`."""
    day = _day(text)
    if day is None:
        raise InvalidInput(field, f"{field}: expected a day such as 2026-01-31, got {shown(text)}")
    return day


def parse_start(text: str, field: str) -> datetime:
    """The time that `text` names, or the beginning of the day that it names. UTC if it names no zone."""
    day = _day(text)
    return _moment(text, field) if day is None else _beginning(day)


def parse_end(text: str, field: str) -> datetime:
    """The exclusive end of a period that ends with `text`: the time that it names, or, for a day, which is still in the
    period, the beginning of the day after. UTC if it names no zone."""
    day = _day(text)
    if day is None:
        return _moment(text, field)
    return _beginning(day + timedelta(days=1)) if day < date.max else datetime.max.replace(tzinfo=UTC)


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if _DAY.fullmatch(text) else None
    except (TypeError, ValueError):  # Also for a value that is not text.
        return None


def _moment(text: str, field: str) -> datetime:
    try:
        if _TIME.fullmatch(text) is None:
            raise ValueError
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise InvalidInput(
            field,
            f"{field}: expected a day such as 2026-01-31 or a time such as 2026-01-31T14:30:00Z, got {shown(text)}",
        ) from None


def _beginning(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
