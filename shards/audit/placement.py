"""Every row lies on the shard that the map gives its key, and every shard's own record agrees with the map."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.shard_map import Keyspace, Route, ShardMap, bucket_of
from shards.audit.findings import Violation
from shards.engines import Cluster, Database
from shards.map_store import load_map

# `key` is what the map is asked for, `slot` what the row believes to lie in.
_PLACED = text("""
    SELECT 'customer' AS relation, id, id AS key, CAST(bucket AS text) AS slot FROM customer
    UNION ALL SELECT 'account', id, id, CAST(bucket AS text) FROM account WHERE kind = 'customer'
    UNION ALL SELECT 'merchant', id, id, id FROM account WHERE kind = 'merchant'
    UNION ALL SELECT 'orders', id, customer_id, CAST(bucket AS text) FROM orders
    UNION ALL SELECT 'order_lookup', order_id, order_id, CAST(bucket AS text) FROM order_lookup
    UNION ALL SELECT 'stock', sku, sku, sku_range FROM stock
""")
_BARRIERS = text("SELECT DISTINCT keyspace, slot FROM barrier")
_OWNED = text("SELECT keyspace, slot FROM ownership WHERE state = 'owned'")

_TRIES_MAX = 5


@dataclass(frozen=True, slots=True)
class Placed:
    checked: int
    violations: list[Violation]


async def check_placement(cluster: Cluster, shard: Database) -> Placed:
    """Reads again where the map changed meanwhile: rows follow their map, so only a map that stood still judges."""
    shard_map = await load_map(cluster.catalog)
    for _ in range(_TRIES_MAX):
        placed = await _check(shard_map, shard)
        newer = await load_map(cluster.catalog)
        if not placed.violations or newer.version == shard_map.version:
            break
        shard_map = newer
    return placed


async def _check(shard_map: ShardMap, shard: Database) -> Placed:
    checked, violations = 0, []
    async with shard.snapshot() as connection:
        async for row in await connection.stream(_PLACED):
            checked += 1
            route, what = _route(shard_map, row), f"{row.relation} {row.id}"
            if route.shard != shard.name:
                found = {"relation": row.relation, "id": row.id, "key": row.key, "map_says": route.shard}
                violations.append(
                    Violation(f"{what} lies on {shard.name}, but belongs on {route.shard}", shard.name, found)
                )
            elif route.slot != row.slot:
                found = {
                    "relation": row.relation,
                    "id": row.id,
                    "key": row.key,
                    "slot": row.slot,
                    "map_says": route.slot,
                }
                told = f"{what} says it is in {route.keyspace} {row.slot!r}, but its key is in {route.slot!r}"
                violations.append(Violation(told, shard.name, found))
        async for violation in _slot_violations(connection, shard_map, shard.name):
            violations.append(violation)
    return Placed(checked, violations)


def _route(shard_map: ShardMap, row: Row[tuple[str, str, str, str]]) -> Route:
    match row.relation:
        case "stock":
            return shard_map.of_sku(row.key)
        case "merchant":
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
