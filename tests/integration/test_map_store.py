"""The shard map: made once, changed in one place, and known to every shard even after a crash in the middle."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event, text

from domain.errors import InvalidInput, NotMigrated, Unreachable
from domain.shard_map import BUCKETS, Keyspace
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.routing import map_store
from shards.routing.map_agreement import disagreements
from shards.routing.map_store import cut_sku_ranges, install_ownership, load_map, pin_accounts, seed_map
from stack.settings import Databases


class Killed(BaseException):
    """Stands for the death of the process."""


SKUS = [f"SKU-{number:03}" for number in range(9)]


async def owned(cluster: Cluster) -> dict[str, dict[tuple[str, str], int]]:
    """Each shard's own record: (keyspace, slot) → map version."""
    return {name: await _owned_by(shard) for name, shard in cluster.primaries.items()}


async def _owned_by(shard: Database) -> dict[tuple[str, str], int]:
    async with shard.transaction() as connection:
        rows = await connection.execute(text("SELECT keyspace, slot, map_version FROM ownership WHERE state = 'owned'"))
        return {(row.keyspace, row.slot): row.map_version for row in rows}


async def on_catalog(cluster: Cluster, statement: str) -> None:
    async with cluster.catalog.transaction() as connection:
        await connection.execute(text(statement))


async def forget_ownership(cluster: Cluster) -> None:
    for shard in cluster.primaries.values():
        async with shard.transaction() as connection:
            await connection.execute(text("DELETE FROM ownership"))


async def test_the_first_map_gives_every_bucket_to_one_shard_that_knows_it(cluster: Cluster) -> None:
    shard_map = await load_map(cluster.catalog)
    assert shard_map.version == 1
    assert shard_map.ranges == [("", "shard-1")]
    assert not shard_map.pins
    records = await owned(cluster)
    for bucket, shard in enumerate(shard_map.buckets):
        assert [name for name in records if ("bucket", str(bucket)) in records[name]] == [shard]
    assert sum(map(len, records.values())) == BUCKETS + 1


async def test_seeding_again_and_at_once_changes_nothing(cluster: Cluster) -> None:
    for table in ("map_bucket", "map_sku_range", "map_shard", "shard_map"):
        await on_catalog(cluster, f"DELETE FROM {table}")
    await asyncio.gather(*(seed_map(cluster) for _ in range(4)))
    first = await load_map(cluster.catalog), await owned(cluster)
    await seed_map(cluster)
    assert (await load_map(cluster.catalog), await owned(cluster)) == first
    assert first[0].version == 1


async def test_a_missing_map_is_reported(cluster: Cluster) -> None:
    await on_catalog(cluster, "DELETE FROM shard_map")
    with pytest.raises(NotMigrated, match="shardwise migrate") as caught:
        await load_map(cluster.catalog)
    assert caught.value.code == "not_migrated"


async def test_a_map_of_other_shards_is_refused_naming_both(cluster: Cluster, cluster_dsns: Databases) -> None:
    fewer = {name: dsn for name, dsn in cluster_dsns.shards.items() if name != "shard-3"}
    async with Cluster(fewer, cluster_dsns.catalog, cluster_dsns.read_model) as smaller:
        with pytest.raises(InvalidInput, match=r"shard-1, shard-2, shard-3, .*shard-1, shard-2$"):
            await seed_map(smaller)


async def test_ranges_are_cut_once_so_that_stock_spreads(cluster: Cluster) -> None:
    await cut_sku_ranges(cluster, SKUS)
    shard_map = await load_map(cluster.catalog)
    assert shard_map.version == 2
    assert [shard for _, shard in shard_map.ranges] == ["shard-1", "shard-2", "shard-3"]
    per_shard = [shard_map.of_sku(sku).shard for sku in SKUS]
    assert {per_shard.count(shard) for shard in cluster.primaries} == {3}

    await cut_sku_ranges(cluster, ["A", "B", "C"])
    assert await load_map(cluster.catalog) == shard_map


async def test_cutting_refuses_routers_that_know_only_the_old_range(cluster: Cluster) -> None:
    await cut_sku_ranges(cluster, SKUS)
    records = await owned(cluster)
    for lower_bound, shard in (await load_map(cluster.catalog)).ranges:
        assert {name: record.get(("sku_range", lower_bound)) for name, record in records.items()} == {
            name: 2 if name == shard else None for name in records
        }
    assert records["shard-1"]["bucket", "0"] == 1


async def test_an_empty_import_does_not_use_up_the_one_cut(cluster: Cluster) -> None:
    await cut_sku_ranges(cluster, [])
    await cut_sku_ranges(cluster, SKUS)
    assert len((await load_map(cluster.catalog)).ranges) == 3


async def test_two_cuts_at_once_make_one(cluster: Cluster) -> None:
    await asyncio.gather(cut_sku_ranges(cluster, SKUS), cut_sku_ranges(cluster, SKUS[:2]))
    assert (await load_map(cluster.catalog)).version == 2


async def test_pins_are_new_once_and_stay_where_they_are(cluster: Cluster) -> None:
    await pin_accounts(cluster, ["merchant.EUR", "merchant.USD"])
    before = await load_map(cluster.catalog)
    await pin_accounts(cluster, ["merchant.USD", "merchant.EUR"])
    assert await load_map(cluster.catalog) == before
    assert before.version == 2

    await pin_accounts(cluster, ["merchant.EUR", "merchant.CHF"])
    after = await load_map(cluster.catalog)
    assert after.version == 3
    assert before.pins.items() <= after.pins.items()
    route = after.of_account("merchant.CHF")
    assert route.keyspace is Keyspace.PIN
    assert (await owned(cluster))[route.shard]["pin", "merchant.CHF"] == 3


async def test_many_pins_spread_evenly(cluster: Cluster) -> None:
    await pin_accounts(cluster, [f"merchant.{number}" for number in range(300)])
    shards = list((await load_map(cluster.catalog)).pins.values())
    assert all(70 <= shards.count(shard) <= 130 for shard in cluster.primaries)


async def test_nothing_to_pin_leaves_the_version(cluster: Cluster) -> None:
    await pin_accounts(cluster, [])
    assert (await load_map(cluster.catalog)).version == 1


@pytest.mark.parametrize("change", ["cut", "pin"])
async def test_a_crash_before_the_shards_knew_is_mended_by_calling_again(cluster: Cluster, change: str) -> None:
    async def do() -> None:
        await (cut_sku_ranges(cluster, SKUS) if change == "cut" else pin_accounts(cluster, ["merchant.EUR"]))

    with pytest.MonkeyPatch.context() as patch:
        _die_before_shards(patch)
        with pytest.raises(Killed):
            await do()
    before = await owned(cluster)
    await do()
    assert await owned(cluster) != before
    assert (await load_map(cluster.catalog)).version == 2


async def test_a_crash_while_seeding_is_mended_by_seeding_again(cluster: Cluster) -> None:
    complete = await owned(cluster)
    await forget_ownership(cluster)
    await seed_map(cluster)
    assert await owned(cluster) == complete


async def test_installing_never_lowers_a_version_nor_opens_a_fence_nor_touches_other_rows(cluster: Cluster) -> None:
    shard = cluster.primaries["shard-1"]
    async with shard.transaction() as connection:
        await connection.execute(text("UPDATE ownership SET map_version = 9 WHERE slot = '0'"))
        await connection.execute(text("UPDATE ownership SET state = 'fenced' WHERE slot = '1'"))
        await connection.execute(text("INSERT INTO ownership VALUES ('bucket', '4095', 1, 'fenced')"))
    before = await _owned_by(shard)
    await install_ownership(cluster)
    after = await _owned_by(shard)
    assert after == before
    assert after["bucket", "0"] == 9
    assert not after.keys() & {("bucket", "1"), ("bucket", "4095")}


async def test_only_a_shard_that_lacks_a_slot_is_written_to(cluster: Cluster) -> None:
    written = []

    def note(shard: str, statement: str) -> None:
        if "INSERT INTO ownership" in statement:
            written.append(shard)

    for name, shard in cluster.primaries.items():
        event.listen(shard.events, "before_cursor_execute", lambda *args, name=name: note(name, args[2]))
    await install_ownership(cluster)
    assert written == []
    async with cluster.primaries["shard-2"].transaction() as connection:
        gone = text("DELETE FROM ownership WHERE slot = (SELECT min(slot) FROM ownership) RETURNING slot")
        slot = (await connection.execute(gone)).scalar_one()
    await install_ownership(cluster)
    assert written == ["shard-2"]
    assert ("bucket", slot) in (await owned(cluster))["shard-2"]


async def test_one_shard_down_does_not_keep_the_others_from_knowing(cluster: Cluster, cluster_dsns: Databases) -> None:
    shards = cluster_dsns.shards | {"shard-2": "postgresql://nobody:x@127.0.0.1:1/none"}
    async with Cluster(shards, cluster_dsns.catalog, cluster_dsns.read_model) as limping:
        with pytest.raises(Unreachable, match="shard-2"):
            await pin_accounts(limping, [f"merchant.{number}" for number in range(9)])
    pins = (await load_map(cluster.catalog)).pins
    records = await owned(cluster)
    assert {shard for account, shard in pins.items() if ("pin", account) in records[shard]} == {"shard-1", "shard-3"}


def _die_before_shards(patch: pytest.MonkeyPatch) -> None:
    """The process dies between the catalog's commit and the writes to the shards."""

    async def die(_: Cluster) -> None:
        raise Killed

    patch.setattr(map_store, "install_ownership", die)


async def test_a_catalog_restored_to_before_is_noticed_changes_nothing_and_learns_from_the_shards(
    cluster: Cluster,
) -> None:
    before = await copied_map(cluster)
    await cut_sku_ranges(cluster, SKUS)
    await pin_accounts(cluster, ["merchant.A", "merchant.B"])
    newest = await load_map(cluster.catalog)
    assert await disagreements(cluster) == []
    await put_back(cluster, before)

    messages = [each.message for each in await disagreements(cluster)]
    assert messages
    assert all("the catalog does not know what" in each and "run `shardwise migrate`" in each for each in messages)
    for change in (cut_sku_ranges(cluster, ["other", "goods"]), pin_accounts(cluster, ["merchant.C"])):
        with pytest.raises(NotMigrated, match=r"older than what .* own"):
            await change
    await seed_map(cluster)
    assert await load_map(cluster.catalog) == newest
    assert await disagreements(cluster) == []
    await pin_accounts(cluster, ["merchant.C"])


async def test_a_new_catalog_learns_all_of_the_map_from_the_shards(cluster: Cluster) -> None:
    await cut_sku_ranges(cluster, SKUS)
    await pin_accounts(cluster, ["merchant.A"])
    newest = await load_map(cluster.catalog)
    for table in MAP_TABLES:
        await on_catalog(cluster, f"DELETE FROM {table}")
    await seed_map(cluster)
    assert await load_map(cluster.catalog) == newest


async def test_a_shard_restored_to_before_gets_its_own_slots_again(cluster: Cluster) -> None:
    await pin_accounts(cluster, [f"merchant.{number}" for number in range(9)])
    shard = cluster.primaries["shard-2"]
    async with shard.transaction() as connection:
        await connection.execute(text("DELETE FROM ownership WHERE keyspace = 'pin'"))
    [found] = await disagreements(cluster)
    assert found.message.startswith("shard-2 does not know what the catalog gave it at version 2")
    await seed_map(cluster)
    assert await disagreements(cluster) == []


MAP_TABLES = ("map_bucket", "map_sku_range", "map_pin", "map_shard", "shard_map")


async def copied_map(cluster: Cluster) -> dict[str, str]:
    """Each table's rows as JSON."""
    async with cluster.catalog.transaction() as connection:
        return {
            table: (await connection.execute(text(f"SELECT CAST(json_agg(t) AS text) FROM {table} AS t"))).scalar_one()
            for table in MAP_TABLES
        }


async def put_back(cluster: Cluster, rows: dict[str, str]) -> None:
    async with cluster.catalog.transaction() as connection:
        for table in MAP_TABLES:
            await connection.execute(text(f"DELETE FROM {table}"))
        for table in reversed(MAP_TABLES):
            given = f"json_populate_recordset(CAST(NULL AS {table}), CAST(coalesce(:rows, '[]') AS json))"
            await connection.execute(text(f"INSERT INTO {table} SELECT * FROM {given}"), {"rows": rows[table]})
