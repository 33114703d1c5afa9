"""Prepared transactions: a young one is being decided, an old one was forgotten.

A prepared transaction keeps its locks, holds back vacuum and stops the server's horizon, so that readers of the outbox
get no later events.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

FORGOTTEN_AFTER_SECONDS = 60

_OURS = "database = current_database() AND starts_with(gid, 'shardwise' || chr(58))"

_COUNT = f"SELECT count(*) FROM pg_prepared_xacts WHERE {_OURS}"
_YOUNG = text(f"{_COUNT} AND clock_timestamp() - prepared <= make_interval(secs => :forgotten_after_seconds)")


def prepared_check(forgotten_after_seconds: int) -> LocalCheck:
    forgotten = Rule(
        "{gid} is prepared and undecided for {seconds} s",
        f"""
        SELECT gid, owner, prepared, CAST(extract(epoch FROM clock_timestamp() - prepared) AS bigint) AS seconds
        FROM pg_prepared_xacts
        WHERE {_OURS} AND clock_timestamp() - prepared > make_interval(secs => {forgotten_after_seconds})
        """,
    )
    return LocalCheck(Check.PREPARED_TRANSACTIONS, _COUNT, (forgotten,))


async def count_in_flight(connection: AsyncConnection, forgotten_after_seconds: int) -> int:
    """Prepared transactions of ours that are still being decided."""
    young = await connection.execute(_YOUNG, {"forgotten_after_seconds": forgotten_after_seconds})
    return int(young.scalar_one())
