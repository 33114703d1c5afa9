"""Positions in a server's write-ahead log, as Postgres writes them (`16/B374D848`) and as numbers that compare."""

from __future__ import annotations

import re

LSN_MAX = 2**64 - 1
PAGE_BYTES = 8192
SEGMENT_BYTES = 16 * 1024 * 1024

# What Postgres writes at the beginning of a page, and of a segment's first page.
_PAGE_HEADER_BYTES = 24
_SEGMENT_HEADER_BYTES = 40

_LSN = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.ASCII | re.IGNORECASE)


def parse_lsn(text: str) -> int:
    """The bytes of log before this position, or ValueError. Takes what any version of Postgres writes."""
    found = _LSN.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a position in the log such as '16/B374D848', got {text!a}")
    return int(found[1], 16) << 32 | int(found[2], 16)


def lsn_text(lsn: int) -> str:
    """As a `pg_lsn` is printed and read."""
    if not 0 <= lsn <= LSN_MAX:
        raise ValueError(f"not a position in the log: {lsn}")
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def end_of_log(insert_lsn: int, segment_bytes: int = SEGMENT_BYTES, page_bytes: int = PAGE_BYTES) -> int:
    """Where the last record before `insert_lsn` ends: a position that a replica reaches without another record.

    `pg_current_wal_insert_lsn()` returns where the next record begins. At the start of a page that is behind the page's
    header, which replay only passes with that next record: at rest a replica would be waited for in vain. Nothing lies
    between the header and the page's start, so all that was committed still lies below. Idempotent.
    """
    if insert_lsn % segment_bytes == _SEGMENT_HEADER_BYTES:
        return insert_lsn - _SEGMENT_HEADER_BYTES
    if insert_lsn % page_bytes == _PAGE_HEADER_BYTES:
        return insert_lsn - _PAGE_HEADER_BYTES
    return insert_lsn
