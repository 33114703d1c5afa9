"""Parked aggregates: those that could not be projected, with the reason. The next event of one tries it again."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.events import Aggregate
from shards.projection.reading import Touched, Unfit
from shards.tables.versions import Version

log = logging.getLogger("shardwise.projection")

_LIST = text("""
    SELECT shard, aggregate, aggregate_id, version, reason, parked_at FROM live.parked_aggregate
    ORDER BY parked_at, shard, aggregate, aggregate_id LIMIT :limit
""")
_PARK = """
    INSERT INTO {s}.parked_aggregate AS p (shard, aggregate, aggregate_id, version, reason)
    VALUES (:shard, :aggregate, :key, :version, :reason)
    ON CONFLICT (shard, aggregate, aggregate_id) DO UPDATE
    SET version = greatest(p.version, excluded.version), reason = excluded.reason, parked_at = now()
"""
_UNPARK = """
    DELETE FROM {s}.parked_aggregate WHERE shard = :shard AND aggregate = :aggregate AND aggregate_id = ANY(:keys)
"""
_PAGE = """
    SELECT aggregate, aggregate_id, version FROM {s}.parked_aggregate
    WHERE shard = :shard AND (aggregate, aggregate_id) > (:aggregate, :key)
    ORDER BY aggregate, aggregate_id LIMIT :limit
"""
_AMONG = """
    SELECT aggregate_id FROM {s}.parked_aggregate
    WHERE shard = :shard AND aggregate = :aggregate AND aggregate_id = ANY(:keys)
"""


@dataclass(frozen=True, slots=True)
class ParkedAggregate:
    """`version` is the event's. Until it can be projected, the read model has an older row or none."""

    shard: str
    aggregate: str
    aggregate_id: str
    version: int
    reason: str
    parked_at: datetime


async def list_parked_aggregates(connection: AsyncConnection, limit: int = 100) -> Sequence[ParkedAggregate]:
    """The parked aggregates of the live read model, the oldest first."""
    return [ParkedAggregate(*row) for row in await connection.execute(_LIST, {"limit": limit})]


async def park(to: AsyncConnection, version: Version, shard: str, unfit: Iterable[Unfit]) -> None:
    """Parks these, in the transaction that writes the others. Idempotent; undone by `unpark`."""
    for each in unfit:
        log.error(
            "%s %s is parked: %s", each.aggregate, each.key, each.reason, extra={"shard": shard, "code": "event_parked"}
        )
        about = {"aggregate": each.aggregate, "key": each.key, "version": each.version, "reason": each.reason}
        await to.execute(_of(_PARK, version), {"shard": shard, **about})


async def unpark(to: AsyncConnection, version: Version, shard: str, aggregate: Aggregate, keys: Iterable[str]) -> None:
    await to.execute(_of(_UNPARK, version), {"shard": shard, "aggregate": aggregate, "keys": list(keys)})


async def parked_among(
    to: AsyncConnection, version: Version, shard: str, touched: Touched
) -> dict[Aggregate, set[str]]:
    """The parked ones among these aggregates, by kind; a kind without any is left out."""
    found = {}
    for aggregate, versions in touched.in_order:
        about = {"shard": shard, "aggregate": aggregate, "keys": list(versions)}
        if keys := set((await to.execute(_of(_AMONG, version), about)).scalars()):
            found[aggregate] = keys
    return found


async def parked_page(
    to: AsyncConnection, version: Version, shard: str, after: tuple[str, str], limit: int
) -> Sequence[Any]:
    """The next parked aggregates after `after`, a kind and a key: aggregate, key and version of each."""
    about = {"shard": shard, "aggregate": after[0], "key": after[1], "limit": limit}
    return (await to.execute(_of(_PAGE, version), about)).all()


def _of(statement: str, version: Version) -> TextClause:
    return text(statement.replace("{s}", version.value))
