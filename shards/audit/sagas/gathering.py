"""Gathers the facts of sagas from all shards, so that they can be judged while traffic runs.

Shards are read one by one, so the facts may never have been true at one instant. But a saga's rows only go forward and
never return to an earlier state: if two gatherings, one after the other, are equal, nothing changed between them, and
they are a consistent cut.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from sqlalchemy import text

from domain.identifiers import order_saga_id, transfer_saga_id
from shards.audit.local.rules import PART_ROWS
from shards.audit.sagas.facts import ORDER_PREFIX, TRANSFER_PREFIX, SagaFacts
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database import Database
from shards.outbox.cursors import REACTORS


class Counted(NamedTuple):
    """`sagas`: all whose ids are taken; `with_workflow`: without transfers of batches, which have no workflow of their
    own."""

    sagas: int
    with_workflow: int


# Orders with an event that the consumer which starts reactors has not read yet. Evaluated once for all orders.
_UNREAD = f"""
    SELECT aggregate_id FROM outbox WHERE aggregate = 'order'
        AND xid >= coalesce((SELECT xid FROM outbox_cursor WHERE consumer = '{REACTORS}'), CAST('0' AS xid8))
"""


def _facts_query(of_orders: str = "", of_lookups: str = "", of_transfers: str = "", of_sagas: str = "true") -> str:
    # One row per saga, sorted by the server (on its disk if there are many), so that shards can be merged.
    return f"""
        SELECT saga_id COLLATE "C" AS saga_id, jsonb_agg(fact) AS facts FROM (
            SELECT 'order/' || order_id AS saga_id, jsonb_build_object('kind', 'lookup', 'customer_id', customer_id,
                'content_hash', content_hash, 'refused', refused_reason) AS fact
            FROM order_lookup {of_lookups}
            UNION ALL
            SELECT 'order/' || o.id, jsonb_build_object('kind', 'order', 'customer_id', customer_id,
                'content_hash', content_hash, 'state', state, 'reason', reason, 'currency', currency, 'total', total,
                'version', version, 'event', choreography ->> 'event',
                'unread', choreography IS NOT NULL AND o.id IN ({_UNREAD}),
                'lines', (SELECT jsonb_object_agg(sku, quantity) FROM (
                    SELECT sku, sum(quantity) AS quantity FROM order_line WHERE order_id = o.id GROUP BY sku) AS l))
            FROM orders AS o {of_orders}
            UNION ALL
            SELECT 'transfer/' || source || '/' || id, jsonb_build_object('kind', 'transfer', 'source', source,
                'target', target, 'protocol', protocol, 'batch_id', batch_id, 'state', state,
                'currency', currency, 'amount', amount)
            FROM transfer {of_transfers}
            UNION ALL
            SELECT saga_id, jsonb_build_object('kind', 'admission', 'account_id', account_id, 'state', state,
                'batch_id', batch_id,
                'currency', currency, 'amount', amount)
            FROM admission WHERE {of_sagas}
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


_TRANSFER_KEYS = "SELECT * FROM unnest(CAST(:sources AS text[]), CAST(:transfer_ids AS text[]))"
_ALL = text(_facts_query())
_SOME = text(
    _facts_query(
        of_orders="WHERE id = ANY(:order_ids)",
        of_lookups="WHERE order_id = ANY(:order_ids)",
        of_transfers=f"WHERE (source, id) IN ({_TRANSFER_KEYS})",
        of_sagas="saga_id = ANY(:saga_ids)",
    )
)
_CLAIMED = text("SELECT order_id FROM order_lookup WHERE order_id = ANY(:order_ids)")
_COUNT_SAGAS = text("""
    SELECT orders + transfers AS sagas, orders + transfers - in_batches AS with_workflow
    FROM (SELECT count(*) AS orders FROM order_lookup) AS o,
         (SELECT count(*) AS transfers, count(batch_id) AS in_batches FROM transfer) AS t
""")
_STATES = text("SELECT id, state FROM orders WHERE id = ANY(:order_ids)")
_TRANSFER_STATES = text(f"SELECT source, id, state FROM transfer WHERE (source, id) IN ({_TRANSFER_KEYS})")


async def read_all(cluster: Cluster) -> AsyncGenerator[SagaFacts, None]:
    """Every saga that any shard knows, one by one in the order of their ids, in bounded memory.

    Each shard is read in one snapshot; the snapshots are not of one instant. Close the generator if you leave it early.
    """
    async with AsyncExitStack() as stack:
        streams = [_Stream(shard) for shard in cluster.primaries.values()]
        for stream in streams:
            await stream.open(stack)
        while True:
            saga_id = min((stream.saga_id for stream in streams if stream.saga_id is not None), default=None)
            if saga_id is None:
                return
            saga = SagaFacts(saga_id)
            for stream in streams:
                if stream.saga_id == saga_id:
                    saga.add(stream.shard.name, stream.facts)
                    await stream.advance()
            yield saga


class _Stream:
    """One shard's sagas in order; `saga_id` is None at the end."""

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


async def gather(cluster: Cluster, saga_ids: Sequence[str]) -> dict[str, SagaFacts]:
    """The facts of these sagas as they are now, empty ones included."""
    keys = _keys(saga_ids)
    sagas = {saga_id: SagaFacts(saga_id) for saga_id in saga_ids}

    async def read(shard: Database) -> None:
        async with shard.snapshot() as connection:
            rows = await connection.execute(_SOME, {"saga_ids": list(saga_ids), **keys})
            for row in rows:
                sagas[row.saga_id].add(shard.name, row.facts)

    # In one order, so that two gatherings of the same rows are equal.
    for shard in cluster.primaries.values():
        await read(shard)
    return sagas


async def gather_consistent(cluster: Cluster, saga_ids: Sequence[str]) -> dict[str, SagaFacts]:
    """Those of these sagas whose rows did not change meanwhile, each as a consistent cut."""
    before = await gather(cluster, saga_ids)
    after = await gather(cluster, saga_ids)
    return {saga_id: saga for saga_id, saga in after.items() if saga == before[saga_id]}


async def known_states(cluster: Cluster, saga_ids: Sequence[str]) -> dict[str, str | None]:
    """By saga id, the row's state (None: no row yet) of those of these sagas that any shard knows."""
    keys = _keys(saga_ids)
    of_transfers = {"sources": keys["sources"], "transfer_ids": keys["transfer_ids"]}

    async def read(shard: Database) -> dict[str, str | None]:
        async with shard.snapshot() as connection:
            claimed = await connection.execute(_CLAIMED, {"order_ids": keys["order_ids"]})
            known: dict[str, str | None] = {order_saga_id(order_id): None for order_id in claimed.scalars()}
            rows = await connection.execute(_STATES, {"order_ids": keys["order_ids"]})
            known |= {order_saga_id(row.id): row.state for row in rows}
            rows = await connection.execute(_TRANSFER_STATES, of_transfers)
            return known | {transfer_saga_id(row.source, row.id): row.state for row in rows}

    found: dict[str, str | None] = {}
    for part in await gather_all(read(shard) for shard in cluster.primaries.values()):
        for saga_id, state in part.items():
            found[saga_id] = state or found.get(saga_id)
    return found


async def count_sagas(cluster: Cluster) -> Counted:
    async def count(shard: Database) -> Counted:
        async with shard.snapshot() as connection:
            return Counted(*(await connection.execute(_COUNT_SAGAS)).one())

    counts = await gather_all(count(shard) for shard in cluster.primaries.values())
    return Counted(sum(each.sagas for each in counts), sum(each.with_workflow for each in counts))


def _keys(saga_ids: Sequence[str]) -> dict[str, list[str]]:
    """The keys of the rows that the sagas begin with."""
    orders = [each.removeprefix(ORDER_PREFIX) for each in saga_ids if each.startswith(ORDER_PREFIX)]
    transfers = [each.split("/") for each in saga_ids if each.startswith(TRANSFER_PREFIX) and each.count("/") == 2]
    return {
        "order_ids": orders,
        "sources": [source for _, source, _ in transfers],
        "transfer_ids": [transfer_id for _, _, transfer_id in transfers],
    }
