"""Rules that one snapshot of one shard must obey at every instant, mid-saga and mid-crash.

A rule is a query for the rows that break it. Each effect and all that belongs to it commit in one transaction, so
nothing has to be read twice: any violation in a snapshot is damage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.currencies import DECIMALS
from domain.money import Money
from domain.timestamps import timestamp
from shards.audit.findings import VIOLATIONS_SHOWN_MAX, Check, Violation

# How many rows are fetched from a stream at once: one by one, SQLAlchemy's greenlet switch costs more than the row.
PART_ROWS = 500

_MINOR = "_minor"


@dataclass(frozen=True, slots=True)
class Rule:
    """`what` is the sentence for one row, with the row's columns in braces.

    Columns of `query` that end in `_minor` are minor units of the row's `currency`; they are reported as decimal
    strings, without the suffix.
    """

    what: str
    query: str

    async def broken_by(self, connection: AsyncConnection, shard: str) -> tuple[list[Violation], int]:
        """The first violations, and how many there are."""
        statement = text(f"""
            SELECT count(*) OVER () AS violation_count, broken.* FROM ({self.query}) AS broken
            LIMIT {VIOLATIONS_SHOWN_MAX}
        """)
        rows = (await connection.execute(statement)).mappings().all()
        if not rows:
            return [], 0
        shown = [json_row({str(name): value for name, value in row.items()}) for row in rows]
        return [Violation(self.what.format_map(row), shard, row) for row in shown], int(rows[0]["violation_count"])


@dataclass(frozen=True, slots=True)
class LocalCheck:
    """`count` is a query for the number of rows that the rules check."""

    check: Check
    count: str
    rules: tuple[Rule, ...]


def json_row(row: Mapping[str, object]) -> dict[str, object]:
    """The row with values that JSON can hold, amounts as decimal strings."""
    currency = row.get("currency")
    values: dict[str, object] = {}
    for name, value in row.items():
        if name == "violation_count":
            continue
        if name.endswith(_MINOR):
            values[name.removesuffix(_MINOR)] = amount_text(value, currency)
        elif isinstance(value, datetime):
            values[name] = timestamp(value)
        else:
            values[name] = int(value) if isinstance(value, Decimal) else value
    return values


def amount_text(minor: object, currency: object) -> object:
    """The amount as a decimal string. In damaged rows a value without one is returned as it is."""
    if not isinstance(minor, int | Decimal):
        return minor
    if isinstance(currency, str) and currency in DECIMALS:
        return Money(int(minor), currency).amount
    return f"{int(minor)} minor units"
