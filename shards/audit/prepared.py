"""Prepared transactions: a young one is being decided, an old one was forgotten.

It keeps its locks, holds back vacuum and freezes the whole server's horizon: the outbox stands still behind it.
"""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.audit.findings import Check
from shards.audit.rules import LocalCheck, Rule

FORGOTTEN_AFTER_SECONDS = 60

_OURS = "database = current_database() AND starts_with(gid, 'shardwise' || chr(58))"

PREPARED = LocalCheck(
    Check.PREPARED_TRANSACTIONS,
    f"SELECT count(*) FROM pg_prepared_xacts WHERE {_OURS}",
    (
        Rule(
            "{gid} is prepared and undecided for {seconds} s",
            f"""
            SELECT gid, owner, prepared, CAST(extract(epoch FROM clock_timestamp() - prepared) AS bigint) AS seconds
            FROM pg_prepared_xacts
            WHERE {_OURS} AND clock_timestamp() - prepared > make_interval(secs => {FORGOTTEN_AFTER_SECONDS})
            """,
        ),
    ),
)

_YOUNG = text(f"""
    SELECT count(*) FROM pg_prepared_xacts
    WHERE {_OURS} AND clock_timestamp() - prepared <= make_interval(secs => {FORGOTTEN_AFTER_SECONDS})
""")


async def count_in_flight(connection: AsyncConnection) -> int:
    """Prepared transactions of ours that are still being decided."""
    return int((await connection.execute(_YOUNG)).scalar_one())
