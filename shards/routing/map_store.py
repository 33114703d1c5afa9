"""The shard map in the catalog, and each shard's own record of the slots that it was given.

The catalog decides; writers are checked against the shard's `ownership` rows. Every change here commits in the catalog
first and then writes the shards. After a crash between the two, make the same call again: it completes what is missing.
Until then the shards refuse writes to the changed slots, and accept no wrong ones.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidInput, NotMigrated, Unreachable
from domain.shard_map import Keyspace, ShardMap, bucket_of, cut_ranges, spread_buckets
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database import Database

_READ_HEAD = text("SELECT version, ranges_cut FROM shard_map")
_LOCK_TO_CHANGE = text("SELECT version, ranges_cut FROM shard_map FOR UPDATE")
_LOCK_AGAINST_CHANGE = text("SELECT version, ranges_cut FROM shard_map FOR SHARE")
_SHARD_NAMES = text("SELECT name FROM map_shard ORDER BY name")

_SEED_HEAD = text("INSERT INTO shard_map (version) VALUES (1) ON CONFLICT DO NOTHING RETURNING version")
_SEED_SHARDS = text("INSERT INTO map_shard SELECT unnest(CAST(:names AS text[]))")
_SEED_BUCKETS = text("""
    INSERT INTO map_bucket (bucket, shard, version)
    SELECT n - 1, shard, 1 FROM unnest(CAST(:shards AS text[])) WITH ORDINALITY AS given (shard, n)
""")

_CUT_HEAD = text("UPDATE shard_map SET version = :version, ranges_cut = true")
_DROP_RANGES = text("DELETE FROM map_sku_range")
_ADD_RANGES = text("""
    INSERT INTO map_sku_range (lower_bound, shard, version)
    SELECT lower_bound, shard, :version
    FROM unnest(CAST(:bounds AS text[]), CAST(:shards AS text[])) AS given (lower_bound, shard)
""")

_RAISE_VERSION = text("UPDATE shard_map SET version = :version")
_ADD_PINS = text("""
    INSERT INTO map_pin (account_id, shard, version)
    SELECT account_id, shard, :version
    FROM unnest(CAST(:account_ids AS text[]), CAST(:shards AS text[])) AS given (account_id, shard)
""")
# Slots that a shard was given at a later version than the catalog's.
_OWNED_LATER = text("""
    SELECT keyspace, slot, map_version AS version FROM ownership WHERE map_version > :version ORDER BY keyspace, slot
""")
_ADOPT = {
    Keyspace.BUCKET: text("""
        INSERT INTO map_bucket (bucket, shard, version) VALUES (CAST(:slot AS smallint), :shard, :version)
        ON CONFLICT (bucket) DO UPDATE SET shard = excluded.shard, version = excluded.version
        WHERE map_bucket.version < excluded.version
    """),
    Keyspace.SKU_RANGE: text("""
        INSERT INTO map_sku_range (lower_bound, shard, version) VALUES (:slot, :shard, :version)
        ON CONFLICT (lower_bound) DO UPDATE SET shard = excluded.shard, version = excluded.version
        WHERE map_sku_range.version < excluded.version
    """),
    Keyspace.PIN: text("""
        INSERT INTO map_pin (account_id, shard, version) VALUES (:slot, :shard, :version)
        ON CONFLICT (account_id) DO UPDATE SET shard = excluded.shard, version = excluded.version
        WHERE map_pin.version < excluded.version
    """),
}
_SET_HEAD = text("UPDATE shard_map SET version = :version, ranges_cut = ranges_cut OR :ranges_cut")
_PINNED = text("SELECT account_id FROM map_pin WHERE account_id = ANY(:account_ids)")

_GIVEN = """
    SELECT shard, 'bucket' AS keyspace, CAST(bucket AS text) AS slot, version FROM map_bucket
    UNION ALL SELECT shard, 'sku_range', lower_bound, version FROM map_sku_range
    UNION ALL SELECT shard, 'pin', account_id, version FROM map_pin
"""
# Independent of order. If two servers hash differently, all slots are needlessly installed again, nothing worse.
_DIGEST = "count(*) AS slots, coalesce(sum(hashtextextended(concat_ws('/', keyspace, slot, version), 0)), 0) AS digest"
_DIGESTS_GIVEN = text(f"SELECT shard, {_DIGEST} FROM ({_GIVEN}) AS given GROUP BY shard")
_DIGEST_OWNED = text(f"SELECT {_DIGEST} FROM (SELECT keyspace, slot, map_version AS version FROM ownership) AS owned")
# All callers lock slots in this one order: two of them at once queue up instead of deadlocking.
_SLOTS = text(f"""
    SELECT shard, array_agg(keyspace) AS keyspaces, array_agg(slot) AS slots, array_agg(version) AS versions
    FROM (SELECT * FROM ({_GIVEN}) AS given WHERE shard = ANY(:shards) ORDER BY keyspace, slot) AS ordered
    GROUP BY shard
""")
_INSTALL = text("""
    INSERT INTO ownership (keyspace, slot, map_version, state)
    SELECT keyspace, slot, version, 'owned'
    FROM unnest(CAST(:keyspaces AS text[]), CAST(:slots AS text[]), CAST(:versions AS bigint[]))
        AS given (keyspace, slot, version)
    ON CONFLICT (keyspace, slot) DO UPDATE SET map_version = excluded.map_version
    WHERE ownership.map_version < excluded.map_version
""")


async def load_whole_map(cluster: Cluster) -> ShardMap:
    """The map. `InvalidInput` if the settings do not name all of its shards: rows on the others would seem not to
    exist."""
    shard_map = await load_map(cluster.catalog)
    if not shard_map.shards <= cluster.shards.keys():
        needed, named = ", ".join(sorted(shard_map.shards)), ", ".join(sorted(cluster.primaries))
        raise InvalidInput("shards", f"the shard map needs {needed}, but the settings name {named}")
    return shard_map


async def load_map(catalog: Database) -> ShardMap:
    """One consistent version of the whole map. `NotMigrated` if none was seeded."""
    async with catalog.snapshot() as connection:
        head = await _head(connection, _READ_HEAD)
        # As one value: thousands of rows take longer to fetch than to read.
        buckets = await connection.execute(text("SELECT array_agg(shard ORDER BY bucket) FROM map_bucket"))
        ranges = await connection.execute(text("SELECT lower_bound, shard FROM map_sku_range"))
        pins = await connection.execute(text("SELECT account_id, shard FROM map_pin"))
        return ShardMap(
            version=head.version,
            ranges_cut=head.ranges_cut,
            buckets=buckets.scalar_one(),
            # Sorted here: keys are looked up by Python's order, which need not be the catalog's collation.
            ranges=sorted((row.lower_bound, row.shard) for row in ranges),
            pins={row.account_id: row.shard for row in pins},
        )


async def seed_map(cluster: Cluster) -> None:
    """Creates the map if there is none: all buckets spread evenly, one SKU range, no pins, version 1.

    An existing map only adopts slots that the shards were given later, in case the catalog was restored from an older
    copy or is a new one. Idempotent; if two run at once, one seeds and the other waits for it. `InvalidInput` if the
    map names other shards than the cluster has.
    """
    names = sorted(cluster.primaries)
    async with cluster.catalog.transaction() as connection:
        if (await connection.execute(_SEED_HEAD)).first() is not None:
            await connection.execute(_SEED_SHARDS, {"names": names})
            await connection.execute(_SEED_BUCKETS, {"shards": spread_buckets(names)})
            await connection.execute(_ADD_RANGES, {"bounds": [""], "shards": names[:1], "version": 1})
        _check_names(await _shard_names(connection), names)
    await _adopt_newer_ownership(cluster)
    await install_ownership(cluster)


async def _adopt_newer_ownership(cluster: Cluster) -> None:
    """One transaction in the catalog, under the map's lock. Idempotent."""
    async with cluster.catalog.transaction() as connection:
        head = await _head(connection, _LOCK_TO_CHANGE)
        version, ranges_cut = head.version, False
        for name, rows in (await _owned_later(cluster, head.version)).items():
            for row in rows:
                given = {"slot": row.slot, "shard": name, "version": row.version}
                await connection.execute(_ADOPT[Keyspace(row.keyspace)], given)
                version = max(version, row.version)
                ranges_cut = ranges_cut or row.keyspace == Keyspace.SKU_RANGE
        if version > head.version:
            await connection.execute(_SET_HEAD, {"version": version, "ranges_cut": ranges_cut})


async def _owned_later(cluster: Cluster, version: int, skip_unreachable: bool = False) -> dict[str, Sequence[Row[Any]]]:
    """By shard, the slots that it was given at a later version than `version`."""

    async def read(shard: Database) -> Sequence[Row[Any]]:
        with contextlib.suppress(Unreachable) if skip_unreachable else contextlib.nullcontext():
            async with shard.transaction() as connection:
                return (await connection.execute(_OWNED_LATER, {"version": version})).all()
        return []

    found = await gather_all(read(shard) for shard in cluster.primaries.values())
    return dict(zip(cluster.primaries, found, strict=True))


async def _assert_newest(cluster: Cluster, version: int) -> None:
    """Raises `NotMigrated` if a reachable shard has a later version: changing an old map would give slots away
    twice."""
    later = [name for name, rows in (await _owned_later(cluster, version, skip_unreachable=True)).items() if rows]
    if later:
        raise NotMigrated(f"the catalog's shard map is older than what {', '.join(later)} own: it was restored")


async def cut_sku_ranges(cluster: Cluster, skus: Collection[str]) -> None:
    """Cut the SKU ranges at the quantiles of `skus`, so that stock spreads over the shards. Once for all time.

    A second call, or one without SKUs, cuts nothing. Call it before the first product is written, and route products
    by a map loaded after it: SKUs stored earlier would stay behind on the first shard.
    """
    async with cluster.catalog.transaction() as connection:
        head = await _head(connection, _LOCK_TO_CHANGE)
        if skus and not head.ranges_cut:
            await _assert_newest(cluster, head.version)
            ranges = cut_ranges(skus, await _shard_names(connection))
            version = head.version + 1
            await connection.execute(_DROP_RANGES)
            bounds, shards = zip(*ranges, strict=True)
            added = {"bounds": list(bounds), "shards": list(shards), "version": version}
            await connection.execute(_ADD_RANGES, added)
            await connection.execute(_CUT_HEAD, {"version": version})
    await install_ownership(cluster)


async def pin_accounts(cluster: Cluster, account_ids: Collection[str]) -> None:
    """Adds accounts to the directory: a new one on a shard chosen by the hash of its id. Known ones stay where they
    are.

    Idempotent.
    """
    async with cluster.catalog.transaction() as connection:
        head = await _head(connection, _LOCK_TO_CHANGE)
        pinned = await connection.execute(_PINNED, {"account_ids": list(account_ids)})
        new = sorted(set(account_ids) - set(pinned.scalars()))
        if new:
            await _assert_newest(cluster, head.version)
            places = spread_buckets(await _shard_names(connection))
            shards = [places[bucket_of(account_id)] for account_id in new]
            version = head.version + 1
            await connection.execute(_ADD_PINS, {"account_ids": new, "shards": shards, "version": version})
            await connection.execute(_RAISE_VERSION, {"version": version})
    await install_ownership(cluster)


async def install_ownership(cluster: Cluster) -> None:
    """Writes to every shard the slots that the map gives it, each with the map version at which it was given.

    Idempotent: it never lowers a version, never opens a fenced slot and never touches another shard's slots. After a
    crash some shards lack slots and refuse writes to them until it runs again. The map cannot change meanwhile.
    """
    async with cluster.catalog.transaction() as connection:
        await _head(connection, _LOCK_AGAINST_CHANGE)
        _check_names(await _shard_names(connection), sorted(cluster.primaries))
        given = {row.shard: (row.slots, row.digest) for row in await connection.execute(_DIGESTS_GIVEN)}
        # A shard that does not answer counts as differing: writing to it fails, but only after all others are written.
        owned = await asyncio.gather(*(_owned(cluster.primaries[name]) for name in given), return_exceptions=True)
        differing = [name for name, own in zip(given, owned, strict=True) if own != given[name]]
        if differing:
            slots = await connection.execute(_SLOTS, {"shards": differing})
            await gather_all(_install(cluster.primaries[row.shard], row) for row in slots)


async def _owned(shard: Database) -> tuple[int, Decimal]:
    """How many slots the shard has, and a digest of them. Usually nothing is missing."""
    async with shard.transaction() as connection:
        row = (await connection.execute(_DIGEST_OWNED)).one()
        return row.slots, row.digest


async def _install(shard: Database, slots: Row[Any]) -> None:
    given = {"keyspaces": slots.keyspaces, "slots": slots.slots, "versions": slots.versions}
    async with shard.transaction() as connection:
        await connection.execute(_INSTALL, given)


async def _head(connection: AsyncConnection, query: TextClause) -> Row[Any]:
    head = (await connection.execute(query)).first()
    if head is None:
        raise NotMigrated("there is no shard map yet")
    return head


async def _shard_names(connection: AsyncConnection) -> list[str]:
    return list((await connection.execute(_SHARD_NAMES)).scalars())


def _check_names(mapped: Sequence[str], present: Sequence[str]) -> None:
    if list(mapped) != list(present):
        raise InvalidInput(
            "shards", f"the shard map is about {', '.join(mapped)}, but the settings name {', '.join(present)}"
        )
