"""What all shards together know of one saga, gathered so that it can be judged while traffic runs.

Shards are read one by one, so what is gathered may never have been true at one instant. But a saga's rows only go
forward, and none ever returns to what it was: where two gatherings, one after the other, are equal, nothing moved
between them, and they are a consistent cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import text

from domain.identifiers import order_saga_id
from shards.audit.rules import PART_ROWS
from shards.engines import Cluster, Database
from shards.side_by_side import all_ended

ORDER_PREFIX = order_saga_id("")


class LookupFact(NamedTuple):
    shard: str
    customer_id: str
    content_hash: str
    refused: str | None


class OrderFact(NamedTuple):
    """`total` in minor units. `lines`: what is wanted of each SKU, sorted by SKU."""

    shard: str
    customer_id: str
    content_hash: str
    state: str
    reason: str | None
    currency: str
    total: int
    lines: tuple[tuple[str, int], ...]


class LegFact(NamedTuple):
    """`amount` in minor units."""

    shard: str
    role: str
    currency: str
    amount: int


class ReservationFact(NamedTuple):
    shard: str
    sku: str
    quantity: int
    state: str


class StepFact(NamedTuple):
    """A barrier row. `refused`: its stored result is a refusal, so it had no effect."""

    shard: str
    step: str
    op: str
    refused: bool


@dataclass(slots=True)
class Dossier:
    """Everything the shards know of one saga. Empty where none knows it."""

    saga_id: str
    lookups: list[LookupFact] = field(default_factory=list)
    orders: list[OrderFact] = field(default_factory=list)
    legs: list[LegFact] = field(default_factory=list)
    reservations: list[ReservationFact] = field(default_factory=list)
    steps: list[StepFact] = field(default_factory=list)

    @property
    def order_id(self) -> str | None:
        """None where the saga is not an order's."""
        return self.saga_id.removeprefix(ORDER_PREFIX) if self.saga_id.startswith(ORDER_PREFIX) else None

    def add(self, shard: str, facts: Sequence[Mapping[str, Any]]) -> None:
        """Facts of one shard, as the query answers them; sorted, so that equal dossiers compare equal."""
        for fact in facts:
            match fact["kind"]:
                case "lookup":
                    known = LookupFact(shard, fact["customer_id"], fact["content_hash"], fact["refused"])
                    self.lookups.append(known)
                case "order":
                    self.orders.append(_order(shard, fact))
                case "leg":
                    self.legs.append(LegFact(shard, fact["role"], fact["currency"], fact["amount"]))
                case "reservation":
                    reserved = ReservationFact(shard, fact["sku"], fact["quantity"], fact["state"])
                    self.reservations.append(reserved)
                case "step":
                    self.steps.append(StepFact(shard, fact["step"], fact["op"], fact["refused"]))
        self.legs.sort()
        self.reservations.sort()
        self.steps.sort()


def _order(shard: str, fact: Mapping[str, Any]) -> OrderFact:
    return OrderFact(
        shard,
        fact["customer_id"],
        fact["content_hash"],
        fact["state"],
        fact["reason"],
        fact["currency"],
        fact["total"],
        tuple(sorted((fact["lines"] or {}).items())),
    )


def _facts_query(of_orders: str = "", of_lookups: str = "", of_sagas: str = "true") -> str:
    # One row per saga: sorted by the server, on its disk where there are many, so that shards can be merged.
    return f"""
        SELECT saga_id COLLATE "C" AS saga_id, jsonb_agg(fact) AS facts FROM (
            SELECT 'order/' || order_id AS saga_id, jsonb_build_object('kind', 'lookup', 'customer_id', customer_id,
                'content_hash', content_hash, 'refused', refused_reason) AS fact
            FROM order_lookup {of_lookups}
            UNION ALL
            SELECT 'order/' || o.id, jsonb_build_object('kind', 'order', 'customer_id', customer_id,
                'content_hash', content_hash, 'state', state, 'reason', reason, 'currency', currency, 'total', total,
                'lines', (SELECT jsonb_object_agg(sku, quantity) FROM (
                    SELECT sku, sum(quantity) AS quantity FROM order_line WHERE order_id = o.id GROUP BY sku) AS l))
            FROM orders AS o {of_orders}
            UNION ALL
            SELECT saga_id, jsonb_build_object('kind', 'leg', 'role', role, 'currency', currency, 'amount', amount)
            FROM clearing_leg WHERE {of_sagas}
            UNION ALL
            SELECT saga_id, jsonb_build_object('kind', 'reservation', 'sku', sku, 'quantity', quantity, 'state', state)
            FROM reservation WHERE {of_sagas}
            UNION ALL
            SELECT saga_id, jsonb_build_object('kind', 'step', 'step', step, 'op', op,
                'refused', coalesce(jsonb_typeof(result) = 'object', false))
            FROM barrier WHERE saga_id LIKE 'order/%' AND {of_sagas}
        ) AS known
        GROUP BY saga_id COLLATE "C" ORDER BY 1
    """


_ALL = text(_facts_query())
_SOME = text(
    _facts_query(
        of_orders="WHERE id = ANY(:order_ids)",
        of_lookups="WHERE order_id = ANY(:order_ids)",
        of_sagas="saga_id = ANY(:saga_ids)",
    )
)
_CLAIMED = text("SELECT order_id FROM order_lookup WHERE order_id = ANY(:order_ids)")
_COUNT_CLAIMED = text("SELECT count(*) FROM order_lookup")
_STATES = text("SELECT id, state FROM orders WHERE id = ANY(:order_ids)")


async def read_all(cluster: Cluster) -> AsyncGenerator[Dossier, None]:
    """Every saga that any shard knows, one by one in the order of their ids, in bounded memory.

    Each shard is read in one snapshot; the snapshots are not of one instant. Close it when it is left early.
    """
    async with AsyncExitStack() as stack:
        streams = [_Stream(shard) for shard in cluster.shards.values()]
        for stream in streams:
            await stream.open(stack)
        while True:
            saga_id = min((stream.saga_id for stream in streams if stream.saga_id is not None), default=None)
            if saga_id is None:
                return
            dossier = Dossier(saga_id)
            for stream in streams:
                if stream.saga_id == saga_id:
                    dossier.add(stream.shard.name, stream.facts)
                    await stream.advance()
            yield dossier


class _Stream:
    """One shard's sagas in order; `saga_id` None at the end."""

    def __init__(self, shard: Database) -> None:
        self.shard = shard
        self.saga_id: str | None = None
        self.facts: Sequence[Mapping[str, Any]] = ()

    async def open(self, stack: AsyncExitStack) -> None:
        connection = await stack.enter_async_context(self.shard.snapshot())
        self._parts = (await connection.stream(_ALL)).partitions(PART_ROWS)
        self._rows: Iterator[Any] = iter(())
        await self.advance()

    async def advance(self) -> None:
        row = next(self._rows, None)
        if row is None:
            async for part in self._parts:
                self._rows = iter(part)
                row = next(self._rows, None)
                break
        self.saga_id, self.facts = (None, ()) if row is None else (row.saga_id, row.facts)


async def gather(cluster: Cluster, saga_ids: Sequence[str]) -> dict[str, Dossier]:
    """These sagas' dossiers as they are now, empty ones included."""
    order_ids = [saga_id.removeprefix(ORDER_PREFIX) for saga_id in saga_ids if saga_id.startswith(ORDER_PREFIX)]
    dossiers = {saga_id: Dossier(saga_id) for saga_id in saga_ids}

    async def read(shard: Database) -> None:
        async with shard.snapshot() as connection:
            rows = await connection.execute(_SOME, {"saga_ids": list(saga_ids), "order_ids": order_ids})
            for row in rows:
                dossiers[row.saga_id].add(shard.name, row.facts)

    # In one order, so that two gatherings of the same rows are equal.
    for shard in cluster.shards.values():
        await read(shard)
    return dossiers


async def gather_still(cluster: Cluster, saga_ids: Sequence[str]) -> dict[str, Dossier]:
    """Those of these sagas whose rows stand still, each as a consistent cut; the others moved meanwhile."""
    before = await gather(cluster, saga_ids)
    after = await gather(cluster, saga_ids)
    return {saga_id: dossier for saga_id, dossier in after.items() if dossier == before[saga_id]}


async def known_orders(cluster: Cluster, order_ids: Sequence[str]) -> dict[str, str | None]:
    """The row's state (None: no row) of those of these orders whose id any shard knows."""

    async def read(shard: Database) -> dict[str, str | None]:
        async with shard.snapshot() as connection:
            claimed = await connection.execute(_CLAIMED, {"order_ids": list(order_ids)})
            known: dict[str, str | None] = dict.fromkeys(claimed.scalars())
            rows = await connection.execute(_STATES, {"order_ids": list(order_ids)})
            return known | {row.id: row.state for row in rows}

    found: dict[str, str | None] = {}
    for part in await all_ended(read(shard) for shard in cluster.shards.values()):
        for order_id, state in part.items():
            found[order_id] = state or found.get(order_id)
    return found


async def count_claimed(cluster: Cluster) -> int:
    """How many order ids are taken."""

    async def count(shard: Database) -> int:
        async with shard.snapshot() as connection:
            return int((await connection.execute(_COUNT_CLAIMED)).scalar_one())

    return sum(await all_ended(count(shard) for shard in cluster.shards.values()))
