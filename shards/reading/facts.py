"""What servers say of themselves before a read, and where they stand after it.

Each is one statement under READ COMMITTED, on the connection of the read. The facts come before it: the read's own
snapshot is later, and shows at least as much. The stamp comes after it, and lies at or above all that the read saw.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.consistency import Point
from domain.histories import Lineage
from domain.replicas import LeftOut, ReplicaState, lag_bytes, why_left_out
from domain.serving import PrimaryFacts, ReplicaFacts
from shards.connections.forks import END_OF_LOG, LINEAGE, held_forks, lineage_of
from shards.connections.replica_state import CONNECTED_SECONDS, SENT, STREAMS

_XMAX = "CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)"
_EVENT = "(SELECT CAST(CAST(xid AS text) AS bigint) FROM outbox ORDER BY outbox.xid DESC LIMIT 1)"
# A process of its own for each connection to a primary: another one, and the primary may have started again.
_RECEIVER = "(SELECT pid FROM pg_stat_wal_receiver)"

# What a replica is behind by is known without asking the primary, by what it was sent.
_OF_REPLICA = text(f"""
    SELECT pg_is_in_recovery() AS in_recovery, {STREAMS} AS streams,
           CAST(pg_last_wal_replay_lsn() - '0/0' AS bigint) AS replayed,
           {SENT} AS sent,
           {_RECEIVER} AS receiver, {CONNECTED_SECONDS} AS connected_seconds, {LINEAGE} AS forks
""")
_STAMP_REPLICA = text(f"""
    SELECT CAST(pg_last_wal_replay_lsn() - '0/0' AS bigint) AS lsn, {_XMAX} AS xmax, {_EVENT} AS event,
           {_RECEIVER} AS receiver, {LINEAGE} AS forks
""")
_OF_PRIMARY = text(f"""
    SELECT (SELECT array_agg(xid) FROM (
                SELECT CAST(CAST(xid AS text) AS bigint) AS xid FROM pg_snapshot_xip(pg_current_snapshot()) AS xid
            ) AS running WHERE xid < :below) AS running,
           {_XMAX} AS xmax, {LINEAGE} AS forks
""")
_STAMP_PRIMARY = text(f"SELECT {END_OF_LOG} AS lsn, {_EVENT} AS event, {LINEAGE} AS forks")


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where a server stood. `point`: at or above all that could be read there until then. `receiver`: of a replica, as
    in `ReplicaLook`."""

    point: Point
    lineage: Lineage
    receiver: int | None = None


@dataclass(frozen=True, slots=True)
class ReplicaLook:
    """`facts` is None where it is no replica. `left_out`: why it is not fit, None if it is. `receiver`: which of its
    processes receives the primary's log, None if none does; `connected_seconds`: for how long."""

    facts: ReplicaFacts | None
    left_out: LeftOut | None
    receiver: int | None = None
    connected_seconds: float | None = None


def forks_of(points: Iterable[Point]) -> frozenset[str]:
    return frozenset(point.fork for point in points)


async def look_at_replica(connection: AsyncConnection, forks: Collection[str], behind_max: int) -> ReplicaLook:
    row = (await connection.execute(_OF_REPLICA, {"forks": held_forks(forks)})).one()
    state = ReplicaState(row.in_recovery, row.streams, row.replayed, row.sent, None)
    behind = lag_bytes(row.sent, row.replayed) if row.sent is not None and row.replayed is not None else None
    facts = None
    if row.in_recovery and row.replayed is not None and row.forks is not None:
        facts = ReplicaFacts(lineage_of(row.forks), row.replayed)
    return ReplicaLook(facts, why_left_out(state, behind, behind_max), row.receiver, row.connected_seconds)


async def stamp_replica(connection: AsyncConnection, forks: Collection[str]) -> Stamp:
    row = (await connection.execute(_STAMP_REPLICA, {"forks": held_forks(forks)})).one()
    lineage = lineage_of(row.forks)
    point = Point(lineage.current, lsn=row.lsn, xmax=row.xmax, event=row.event or 0)
    return Stamp(point, lineage, row.receiver)


async def look_at_primary(connection: AsyncConnection, points: Collection[Point]) -> PrimaryFacts:
    below = max((point.xmax for point in points), default=0)
    row = (await connection.execute(_OF_PRIMARY, {"below": below, "forks": held_forks(forks_of(points))})).one()
    return PrimaryFacts(lineage_of(row.forks), row.running or (), row.xmax)


async def stamp_primary(connection: AsyncConnection, forks: Collection[str]) -> Stamp:
    row = (await connection.execute(_STAMP_PRIMARY, {"forks": held_forks(forks)})).one()
    lineage = lineage_of(row.forks)
    return Stamp(Point(lineage.current, lsn=row.lsn, event=row.event or 0), lineage)
