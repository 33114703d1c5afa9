"""What a server's vacuum can remove: nothing newer than the oldest transaction that is still open, a prepared one
included."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from shards.connections.database import Database

_VACUUM = "VACUUM (VERBOSE, PROCESS_TOAST FALSE) account"
_KEPT = re.compile(r"(\d+) are dead but not yet removable")
_CUTOFF_AGE = re.compile(r"removable cutoff: \d+, which was (\d+) XIDs? old")


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """`dead_rows_kept`: versions that nobody can see and that could not be removed. `cutoff_age`: transactions begun
    since the oldest one that keeps them. Both as VACUUM reports them; None if it reports in another language."""

    dead_rows_kept: int | None
    cutoff_age: int | None


async def vacuum_accounts(database: Database) -> Vacuumed:
    """Vacuums the table of accounts, as autovacuum would. Needs a database without time limits."""
    messages: list[str] = []

    def listen(_connection: Any, message: Any) -> None:
        messages.append(message.message)

    async with database.autocommit() as connection:
        driver = (await connection.get_raw_connection()).driver_connection
        assert driver is not None
        driver.add_log_listener(listen)
        try:
            await connection.exec_driver_sql(_VACUUM)
        finally:
            driver.remove_log_listener(listen)
    report = "\n".join(messages)
    return Vacuumed(_number(_KEPT, report), _number(_CUTOFF_AGE, report))


def _number(pattern: re.Pattern[str], report: str) -> int | None:
    found = pattern.search(report)
    return int(found[1]) if found else None
