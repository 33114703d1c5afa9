"""docs/commands.md shows users the limits that hold."""

from __future__ import annotations

import re
from pathlib import Path

from domain import limits

COMMANDS = Path(__file__).parents[2] / "docs" / "commands.md"
ROWS = {
    "IDENTIFIER_CHARS_MAX": "ids",
    "NAME_CHARS_MAX": "names",
    "AMOUNT_MINOR_UNITS_MAX": "amounts",
    "QUANTITY_MAX": "quantities",
    "ORDER_LINES_MAX": "an order",
    "BATCH_LINES_MAX": "a batch",
    "CHUNK_ROWS_MAX": "a batch",
    "LINE_BYTES_MAX": "a line of orders",
    "LINE_BYTES_SKIPPED_MAX": "a line of orders",
    "CSV_BYTES_MAX": "a CSV file",
    "TRANSFERS_BYTES_MAX": "a file of transfers",
    "SECONDS_MAX": "seconds",
    "PAGE_ROWS_MAX": "a page",
    "SETTINGS_MAX": "settings",
    "SETTING_NAME_CHARS_MAX": "settings",
    "SETTING_CHARS_MAX": "settings",
    "SETTINGS_BYTES_MAX": "settings",
    "LEASE_SECONDS_MAX": "a lease",
    "LEASE_WAITERS_MAX": "a lease",
    "TOKEN_MAX": "a lease",
}


def test_every_limit_is_in_its_row_of_the_page_and_no_other_number_is() -> None:
    section = COMMANDS.read_text(encoding="utf-8").partition("## Files and limits")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    documented = {start: _numbers(row) for start in ROWS.values() for row in rows if row.startswith(f"| {start}")}
    held: dict[str, set[int]] = {}
    for name, value in vars(limits).items():
        if name.isupper():
            held.setdefault(ROWS[name], set()).add(value)
    assert documented == held


def _numbers(row: str) -> set[int]:
    """Not what begins a range, and not an example."""
    numbers = re.findall(r"[0-9][0-9,]*", re.sub(r"`[^`]*`|\b1 to ", "", row))
    return {int(number.replace(",", "")) for number in numbers}
