"""Days and times as they are typed."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidInput
from domain.periods import parse_day, parse_end, parse_start

NO_DAYS = ["", "2026", "2026-1-1", "2026-02-30", "20260101", "2026-W01-1", "01.02.2026", "yesterday", "202\u0666-01-01"]
NO_TIMES = [
    *NO_DAYS,
    "2026-01-01T",
    "2026-01-01T25:00",
    "2026-01-01T10:00:00Zulu",
    "2026-01-01T10:00:00+99:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "2026-01-01\n10:00:00",
    "2026-01-01T10:00:00\x00",
    "1767225600",
    "x" * 5000,
]


def test_a_day_begins_and_ends_by_utc() -> None:
    assert parse_start("2026-01-31", "since") == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_end("2026-01-31", "until") == datetime(2026, 2, 1, tzinfo=UTC)
    assert parse_day("2026-01-31", "day") == date(2026, 1, 31)


@pytest.mark.parametrize("parse", [parse_start, parse_end])
@pytest.mark.parametrize("text", ["2026-01-31T14:30:00Z", "2026-01-31T15:30+01:00", "2026-01-31 14:30:00"])
def test_a_time_is_itself(parse: object, text: str) -> None:
    assert callable(parse)
    assert parse(text, "since") == datetime(2026, 1, 31, 14, 30, tzinfo=UTC)


def test_a_time_that_was_printed_can_be_typed() -> None:
    printed = datetime(2026, 1, 31, 14, 30, 1, 234567, tzinfo=UTC)
    for text in (printed.isoformat(), printed.isoformat().replace("+00:00", "Z")):
        assert parse_start(text, "since") == printed


@pytest.mark.parametrize("text", NO_DAYS)
def test_a_text_that_is_no_day_is_refused_with_its_field(text: str) -> None:
    with pytest.raises(InvalidInput, match="expected a day such as 2026-01-31") as refused:
        parse_day(text, "from")
    assert refused.value.field == "from"


@pytest.mark.parametrize("text", NO_TIMES)
@pytest.mark.parametrize("parse", [parse_start, parse_end])
def test_a_text_that_is_no_time_is_refused_with_its_field(parse: object, text: str) -> None:
    assert callable(parse)
    with pytest.raises(InvalidInput, match="expected a day such as 2026-01-31 or a time") as refused:
        parse(text, "since")
    assert refused.value.field == "since"
    assert len(refused.value.message) < 200


@given(day=st.dates())
def test_every_day_has_a_beginning_and_an_end(day: date) -> None:
    assert parse_start(day.isoformat(), "since") < parse_end(day.isoformat(), "until")
