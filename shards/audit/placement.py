"""Checks that every row is on the shard to which the map assigns its key, and that each shard's record fits the map."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.shard_map import Keyspace, Route, ShardMap, bucket_of
from shards.audit.findings import VIOLATIONS_SHOWN_MAX, Violation
from shards.audit.local.rules import PART_ROWS
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.routing.map_store import load_whole_map

# `key` is looked up in the map; `slot` is the row's own record of its slot.
_PLACED = text("""
    SELECT 'customer' AS relation, id, id AS key, CAST(bucket AS text) AS slot FROM customer
    UNION ALL SELECT 'account', id, id, CAST(bucket AS text) FROM account WHERE kind = 'customer'
    UNION ALL SELECT 'merchant', id, id, id FROM account WHERE kind = 'merchant'
    UNION ALL SELECT 'orders', id, customer_id, CAST(bucket AS text) FROM orders
    UNION ALL SELECT 'order_lookup', order_id, order_id, CAST(bucket AS text) FROM order_lookup
    UNION ALL SELECT 'transfer', source || '/' || id, source, slot FROM transfer
    UNION ALL SELECT 'admission', saga_id, account_id, slot FROM admission
    UNION ALL SELECT 'stock', sku, sku, sku_range FROM stock
    UNION ALL SELECT 'comment', id, sku, sku_range FROM comment
""")
_BARRIERS = text("SELECT DISTINCT keyspace, slot FROM barrier")
_OWNED = text("SELECT keyspace, slot FROM ownership WHERE state = 'owned'")

_TRIES_MAX = 5


@dataclass(slots=True)
class Placed:
    """Only the first violations are kept, however many rows are misplaced."""

    checked: int = 0
    violation_count: int = 0
    violations: list[Violation] = field(default_factory=list)

    def add(self, violation: Violation | None) -> None:
        if violation is None:
            return
        self.violation_count += 1
        if len(self.violations) < VIOLATIONS_SHOWN_MAX:
            self.violations.append(violation)


async def check_placement(cluster: Cluster, shard: Database) -> Placed:
    """Checks again if the map changed meanwhile: rows move with the map, so a violation counts only under one map."""
    shard_map = await load_whole_map(cluster)
    for _ in range(_TRIES_MAX):
        placed = await _check(shard_map, shard)
        newer = await load_whole_map(cluster)
        if not placed.violation_count or newer.version == shard_map.version:
            break
        shard_map = newer
    return placed


async def _check(shard_map: ShardMap, shard: Database) -> Placed:
    placed = Placed()
    async with shard.snapshot() as connection:
        async for part in (await connection.stream(_PLACED)).partitions(PART_ROWS):
            placed.checked += len(part)
            for row in part:
                placed.add(_misplaced(shard_map, shard.name, row))
        async for violation in _slot_violations(connection, shard_map, shard.name):
            placed.add(violation)
    return placed


def _misplaced(shard_map: ShardMap, shard: str, row: Row[tuple[str, str, str, str]]) -> Violation | None:
    route, label = _route(shard_map, row), f"{row.relation} {row.id}"
    found = {"relation": row.relation, "id": row.id, "key": row.key}
    if route.shard != shard:
        found |= {"map_says": route.shard}
        return Violation(f"{label} lies on {shard}, but belongs on {route.shard}", shard, found)
    if route.slot != row.slot:
        found |= {"slot": row.slot, "map_says": route.slot}
        what = f"{label} says it is in {route.keyspace} {row.slot!r}, but its key is in {route.slot!r}"
        return Violation(what, shard, found)
    return None


def _route(shard_map: ShardMap, row: Row[tuple[str, str, str, str]]) -> Route:
    match row.relation:
        case "stock" | "comment":
            return shard_map.of_sku(row.key)
        case "merchant" | "transfer" | "admission":
            return shard_map.of_account(row.key)
        case "order_lookup":
            return shard_map.of_order_id(row.key)
        case _:
            return shard_map.of_customer(row.key)


async def _slot_violations(connection: AsyncConnection, shard_map: ShardMap, shard: str) -> AsyncIterator[Violation]:
    buckets = {str(bucket): owner for bucket, owner in enumerate(shard_map.buckets)}
    ranges = dict(shard_map.ranges)
    for relation, statement in (("ownership", _OWNED), ("barrier", _BARRIERS)):
        for keyspace, slot in await connection.execute(statement):
            match keyspace:
                case Keyspace.BUCKET:
                    owner: str | None = buckets.get(slot)
                case Keyspace.SKU_RANGE:
                    owner = ranges.get(slot)
                case _:
                    owner = shard_map.pins.get(slot, shard_map.buckets[bucket_of(slot)])
            if owner != shard:
                what = f"{shard} has {relation} rows of {keyspace} {slot!r}, which the map gives to {owner or 'nobody'}"
                found = {"relation": relation, "keyspace": keyspace, "slot": slot, "map_says": owner}
                yield Violation(what, shard, found)
