"""The rows that one shard keeps of one saga, with their times. Only reads.

Barrier rows are found by the saga's id on every shard: no map is needed, so the catalog need not be reachable.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from domain.money import Money
from domain.orders import OrderState, Style
from domain.sagas import Reason, Refusal
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database import Database

_BARRIER = text("""
    SELECT step, op, result, created_at FROM barrier WHERE saga_id = :saga_id ORDER BY created_at, step, op
""")
_LOOKUP = text("""
    SELECT customer_id, stock_plan, refused_reason, refused_detail, created_at
    FROM order_lookup WHERE order_id = :order_id
""")
_ORDER = text("""
    SELECT customer_id, currency, total, state, reason, detail, placed_at, decided_at, closed_at,
           choreography IS NOT NULL AS is_choreographed
    FROM orders WHERE id = :order_id
""")
_COUNT_EVENTS = text("SELECT count(*) FROM outbox WHERE saga_id = :saga_id")
_EVENTS = text("""
    SELECT aggregate_version AS version, kind, created_at FROM outbox
    WHERE aggregate_id = :order_id AND aggregate = 'order' AND (payload -> 'choreography') IS NOT NULL
    ORDER BY aggregate_version
""")


@dataclass(frozen=True, slots=True)
class BarrierRow:
    """`created_at` is when the effect's transaction began, by the clock of its shard."""

    step: str
    op: str
    result: Any
    created_at: datetime


@dataclass(frozen=True, slots=True)
class LookupRow:
    """`refusal` is set only if the order was refused before it had a row."""

    customer_id: str
    stock_plan: Any
    refusal: Refusal | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DatedOrder:
    """The order's row with the times of all its changes."""

    customer_id: str
    total: Money
    state: OrderState
    refusal: Refusal | None
    placed_at: datetime
    decided_at: datetime | None
    closed_at: datetime | None
    style: Style = Style.ORCHESTRATED


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event of the order itself. `at` is when its transaction began, by the clock of its shard."""

    version: int
    kind: str
    at: datetime


@dataclass(frozen=True, slots=True)
class SagaRows:
    """`events` are those of a choreographed order that were not trimmed yet."""

    shard: str
    barrier: tuple[BarrierRow, ...] = ()
    lookup: LookupRow | None = None
    order: DatedOrder | None = None
    events: tuple[EventRow, ...] = ()


async def read_saga(shard: Database, saga_id: str, order_id: str) -> SagaRows:
    """All of it as of one instant; empty if this shard has nothing of the saga. Raises `Unreachable`."""
    async with shard.snapshot() as connection:
        barrier = await connection.execute(_BARRIER, {"saga_id": saga_id})
        rows = tuple(BarrierRow(row.step, row.op, row.result, row.created_at) for row in barrier)
        lookup = (await connection.execute(_LOOKUP, {"order_id": order_id})).one_or_none()
        order = (await connection.execute(_ORDER, {"order_id": order_id})).one_or_none()
        stored = await connection.execute(_EVENTS, {"order_id": order_id}) if order and order.is_choreographed else ()
        events = tuple(EventRow(*row) for row in stored)
    return SagaRows(
        shard.name, rows, _lookup_of(lookup) if lookup else None, _order_of(order) if order else None, events
    )


async def count_events(cluster: Cluster, saga_id: str) -> int:
    """The saga's events on all shards that were not trimmed yet. Scans whole outboxes: for measuring only."""

    async def count(shard: Database) -> int:
        async with shard.snapshot() as connection:
            return int((await connection.execute(_COUNT_EVENTS, {"saga_id": saga_id})).scalar_one())

    return sum(await gather_all(count(shard) for shard in cluster.primaries.values()))


def _lookup_of(row: Any) -> LookupRow:
    refusal = Refusal(Reason(row.refused_reason), row.refused_detail) if row.refused_reason else None
    return LookupRow(row.customer_id, row.stock_plan, refusal, row.created_at)


def _order_of(row: Any) -> DatedOrder:
    return DatedOrder(
        row.customer_id,
        Money(row.total, row.currency),
        OrderState(row.state),
        Refusal(Reason(row.reason), row.detail) if row.reason else None,
        row.placed_at,
        row.decided_at,
        row.closed_at,
        Style.CHOREOGRAPHED if row.is_choreographed else Style.ORCHESTRATED,
    )
