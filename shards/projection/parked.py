"""What could not be projected, as an operator reads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_LIST = text("""
    SELECT shard, aggregate, aggregate_id, version, reason, parked_at FROM live.parked_aggregate
    ORDER BY parked_at, shard, aggregate, aggregate_id LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class ParkedAggregate:
    """`version` is the event's. The row of the read model is older, or there is none, until it can be projected."""

    shard: str
    aggregate: str
    aggregate_id: str
    version: int
    reason: str
    parked_at: datetime


async def list_parked_aggregates(connection: AsyncConnection, limit: int = 100) -> Sequence[ParkedAggregate]:
    """Of the live read model, the oldest first."""
    return [ParkedAggregate(*row) for row in await connection.execute(_LIST, {"limit": limit})]
