"""How far the readers of a shard's outbox can see: up to the oldest transaction that is open, a prepared one
included."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.connections.database import Database

_LOOK = text("""
    WITH horizon AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS watermark)
    SELECT CAST(CAST(watermark AS text) AS bigint) AS watermark,
           (SELECT count(*) FROM outbox WHERE xid >= watermark) AS hidden_events
    FROM horizon
""")


@dataclass(frozen=True, slots=True)
class Horizon:
    """`watermark`: transactions from this id on may still be open, so no reader of the outbox passes it.
    `hidden_events` counts committed events beyond it."""

    watermark: int
    hidden_events: int


async def read_horizon(database: Database) -> Horizon:
    async with database.transaction() as connection:
        return await read_horizon_on(connection)


async def read_horizon_on(connection: AsyncConnection) -> Horizon:
    """The horizon of this connection's next statement."""
    row = (await connection.execute(_LOOK)).one()
    return Horizon(row.watermark, row.hidden_events)
