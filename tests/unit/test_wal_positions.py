"""Positions in the log: as text, and where a replica at rest can stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.wal_positions import LSN_MAX, PAGE_BYTES, SEGMENT_BYTES, end_of_log, lsn_text, parse_lsn
from tests.support.points import UNHURRIED


@UNHURRIED
@given(st.integers(0, LSN_MAX))
def test_a_position_comes_back_as_it_was(lsn: int) -> None:
    assert parse_lsn(lsn_text(lsn)) == lsn
    assert parse_lsn(lsn_text(lsn).lower()) == lsn


@pytest.mark.parametrize(
    ("text", "lsn"),
    [("0/0", 0), ("16/B374D848", 0x16B374D848), ("16/00000028", 0x1600000028), ("FFFFFFFF/FFFFFFFF", LSN_MAX)],
)
def test_positions_of_any_version_are_read(text: str, lsn: int) -> None:
    assert parse_lsn(text) == lsn


@pytest.mark.parametrize("text", ["", "0", "/", "0/", "0/0 ", "0/0\n", "-1/0", "1FFFFFFFF/0", "0/G", "0x1/0", "٣/0"])
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected a position in the log"):
        parse_lsn(text)


@pytest.mark.parametrize("lsn", [-1, LSN_MAX + 1])
def test_a_number_that_is_no_position_has_no_text(lsn: int) -> None:
    with pytest.raises(ValueError, match="not a position"):
        lsn_text(lsn)


@pytest.mark.parametrize(
    ("insert_lsn", "end"),
    [
        (SEGMENT_BYTES + 40, SEGMENT_BYTES),
        (SEGMENT_BYTES + PAGE_BYTES + 24, SEGMENT_BYTES + PAGE_BYTES),
        (SEGMENT_BYTES + PAGE_BYTES + 40, SEGMENT_BYTES + PAGE_BYTES + 40),
        (SEGMENT_BYTES + PAGE_BYTES + 32, SEGMENT_BYTES + PAGE_BYTES + 32),
        (SEGMENT_BYTES + PAGE_BYTES, SEGMENT_BYTES + PAGE_BYTES),
    ],
)
def test_behind_a_header_with_nothing_after_it_lies_the_end_before_it(insert_lsn: int, end: int) -> None:
    assert end_of_log(insert_lsn) == end


def test_segments_have_the_size_that_the_server_says() -> None:
    assert end_of_log(3 * 2**20 + 40, segment_bytes=2**20) == 3 * 2**20
    assert end_of_log(3 * 2**20 + 40) == 3 * 2**20 + 40


@UNHURRIED
@given(st.integers(1, 2**40), st.integers(0, 2**20))
def test_all_that_was_written_lies_below_the_end(written: int, segment: int) -> None:
    """A log of `written` bytes without its headers, as Postgres lays it out: `end_of_log` of where the next byte goes
    is where the last one ended."""
    page_room, first_room = PAGE_BYTES - 24, PAGE_BYTES - 40
    segment_room = first_room + (SEGMENT_BYTES // PAGE_BYTES - 1) * page_room

    def laid_out(byte: int) -> int:
        """Where a byte of content lies."""
        segments, rest = divmod(byte, segment_room)
        if rest < first_room:
            return (segment + segments) * SEGMENT_BYTES + 40 + rest
        pages, rest = divmod(rest - first_room, page_room)
        return (segment + segments) * SEGMENT_BYTES + (pages + 1) * PAGE_BYTES + 24 + rest

    assert end_of_log(laid_out(written)) == laid_out(written - 1) + 1
    assert end_of_log(end_of_log(laid_out(written))) == end_of_log(laid_out(written))
