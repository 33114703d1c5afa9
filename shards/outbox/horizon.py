"""How far the readers of one server's outbox can see, and what its vacuum can remove.

Both end at the oldest transaction that is still open, a prepared one included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.connections.database import Database

_LOOK = text("""
    WITH horizon AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS watermark)
    SELECT CAST(CAST(watermark AS text) AS bigint) AS watermark,
           (SELECT count(*) FROM outbox WHERE xid >= watermark) AS hidden_events
    FROM horizon
""")
_VACUUM = "VACUUM (VERBOSE, PROCESS_TOAST FALSE) account"
_KEPT = re.compile(r"(\d+) are dead but not yet removable")
_CUTOFF_AGE = re.compile(r"removable cutoff: \d+, which was (\d+) XIDs? old")


@dataclass(frozen=True, slots=True)
class Horizon:
    """`watermark`: transactions from this id on may still be open, so no reader of the outbox passes it.
    `hidden_events` are committed and lie behind it."""

    watermark: int
    hidden_events: int


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """`dead_rows_kept`: versions that nobody can see and that could not be removed. `cutoff_age`: transactions begun
    since the oldest one that keeps them. As VACUUM itself says; None where it says so in another language."""

    dead_rows_kept: int | None
    cutoff_age: int | None


async def read_horizon(database: Database) -> Horizon:
    async with database.transaction() as connection:
        return await read_horizon_on(connection)


async def read_horizon_on(connection: AsyncConnection) -> Horizon:
    """As its next statement sees it."""
    row = (await connection.execute(_LOOK)).one()
    return Horizon(row.watermark, row.hidden_events)


async def vacuum_accounts(database: Database) -> Vacuumed:
    """Vacuums the table of accounts, as autovacuum would. Needs a database without time limits."""
    told: list[str] = []

    def listen(_connection: Any, message: Any) -> None:
        told.append(message.message)

    async with database.autocommit() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_log_listener(listen)
        try:
            await connection.exec_driver_sql(_VACUUM)
        finally:
            driver.remove_log_listener(listen)
    report = "\n".join(told)
    return Vacuumed(_number(_KEPT, report), _number(_CUTOFF_AGE, report))


def _number(pattern: re.Pattern[str], report: str) -> int | None:
    found = pattern.search(report)
    return int(found[1]) if found else None
