"""Routing: a cached map that may be old, shards that know better, and a catalog that may be away."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text

from activities.interfaces import CreditMerchant
from domain.errors import InvalidInput, StaleRoute, Unreachable
from domain.money import Money
from domain.orders import Order, OrderLine
from domain.shard_map import Keyspace, bucket_of
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from stack.settings import Databases
from tests.support.world import RANGES, World

NOWHERE = "postgresql://nobody:nothing@127.0.0.1:1/nothing"


async def identity(tx: ShardTransaction) -> str:
    return str((await tx.execute(text("SELECT name FROM shard_identity"))).scalar_one())


async def moved_bucket(cluster: Cluster, customer_id: str) -> str:
    """Gives the customer's bucket to another shard, as a finished move would, and returns that shard."""
    slot = str(bucket_of(customer_id))
    shard_map = await Router(cluster).map()
    source = shard_map.of_customer(customer_id).shard
    target = next(shard for shard in cluster.primaries if shard != source)
    async with cluster.catalog.transaction() as connection:
        await connection.execute(text("UPDATE shard_map SET version = version + 1"))
        moved = "UPDATE map_bucket SET shard = :shard, version = :version WHERE bucket = :bucket"
        given = {"shard": target, "version": shard_map.version + 1, "bucket": int(slot)}
        await connection.execute(text(moved), given)
    async with cluster.primaries[source].transaction() as connection:
        await connection.execute(text("DELETE FROM ownership WHERE keyspace = 'bucket' AND slot = :s"), {"s": slot})
    async with cluster.primaries[target].transaction() as connection:
        owned = "INSERT INTO ownership VALUES ('bucket', :slot, :version, 'owned')"
        await connection.execute(text(owned), {"slot": slot, "version": shard_map.version + 1})
    return target


@pytest.fixture
async def away_from_the_catalog(cluster_dsns: Databases) -> AsyncIterator[Cluster]:
    """The same shards, and a catalog that does not answer."""
    async with Cluster(cluster_dsns.shards, NOWHERE, NOWHERE, pool_size=2) as made:
        yield made


async def test_a_stale_map_is_read_again_and_the_write_goes_to_the_owner(cluster: Cluster) -> None:
    router = Router(cluster)
    old = (await router.map()).version
    target = await moved_bucket(cluster, "ADA")
    tried = []

    async def work(tx: ShardTransaction) -> str:
        tried.append(tx.route.shard)
        return await identity(tx)

    assert await router.write(lambda m: m.of_customer("ADA"), work) == target
    assert tried[1:] == [target]
    assert (await router.map()).version == old + 1


async def test_a_write_that_the_newest_map_sends_wrong_fails_after_one_more_try(cluster: Cluster) -> None:
    router, tried = Router(cluster), []
    await router.map()

    async def work(tx: ShardTransaction) -> None:
        tried.append(tx.route.shard)
        raise StaleRoute("never here")

    with pytest.raises(StaleRoute):
        await router.write(lambda m: m.of_customer("ADA"), work)
    assert len(tried) == 2


async def test_with_the_catalog_away_a_cached_map_carries_on(cluster: Cluster, away_from_the_catalog: Cluster) -> None:
    await World(cluster).open_shop()
    world = World(away_from_the_catalog)
    world.router._map = await Router(cluster).map()
    world_with_catalog = World(cluster)
    customer_id = await world_with_catalog.customer("100.00")
    sku = await world_with_catalog.product(stock=5)
    saga = await world.saga(world.order(customer_id, {sku: 5}))
    assert [await saga.open(), await saga.reserve(0)] == [None, None]
    assert (await saga.decide()).is_confirmed
    await saga.consume(0)
    await saga.credit()
    assert await world.violations() == []


async def test_with_the_catalog_away_and_no_map_nothing_is_guessed(away_from_the_catalog: Cluster) -> None:
    with pytest.raises(Unreachable, match="catalog does not answer"):
        await Router(away_from_the_catalog).write(lambda m: m.of_customer("ADA"), identity)


async def test_sku_ranges_route_to_their_shards(world: World) -> None:
    for near, shard in RANGES.items():
        for sku in (near, f"{near}-anything"):
            assert await world.router.write(lambda m, sku=sku: m.of_sku(sku), identity) == shard


async def test_a_merchant_pinned_after_the_map_was_cached_is_found(cluster: Cluster) -> None:
    router = Router(cluster)
    early = World(cluster)
    early.router._map = await router.map()
    late = World(cluster)
    await late.open_shop()
    customer_id = await late.customer("1.00")
    saga = await late.saga(late.order(customer_id, {"a": 1}))
    await saga.open()
    await saga.decide()
    await early.payments.credit_merchant(CreditMerchant(saga.saga_id, customer_id, Money(100, "USD")))
    await saga.credit()
    assert await late.money_of("merchant.USD") == (100, 0)
    assert await late.violations() == []


async def test_a_credit_s_barrier_moves_with_the_pin_and_never_with_a_bucket(cluster: Cluster) -> None:
    world = World(cluster)
    await world.open_shop()
    shard_map = await world.router.map()
    # A map from before the pin, whose guess by hash happens to be the right shard.
    buckets = [shard_map.pins["merchant.USD"]] * len(shard_map.buckets)
    customer_id = await world.customer("1.00")
    saga = await world.saga(world.order(customer_id, {"a": 1}))
    await saga.open()
    await saga.decide()
    world.router._map = type(shard_map)(shard_map.version - 1, buckets, shard_map.ranges, {})
    await saga.credit()
    found = await world.everywhere("SELECT keyspace, slot FROM barrier WHERE step = 'credit_merchant'")
    assert found == [(Keyspace.PIN, "merchant.USD")]


async def test_goods_imported_after_the_map_was_cached_are_found_where_they_are(cluster: Cluster) -> None:
    early = World(cluster)
    await early.orders.claim_order_id(Order("before", "nobody", "USD", (OrderLine("a", 1, Money(1, "USD")),)))
    late = World(cluster)
    await late.open_shop()
    skus = [await late.product(near, stock=5) for near in RANGES]
    order = Order("after", await late.customer("100.00"), "USD", tuple(OrderLine(sku, 1) for sku in skus))

    priced = await early.orders.price_lines(order)
    assert priced.refusal is None
    claimed = await early.orders.claim_order_id(order)
    assert [share.shard for share in claimed.stock] == list(RANGES.values())


async def test_one_refresh_serves_all_callers_that_ask_for_it(cluster: Cluster) -> None:
    router = Router(cluster)
    first = await router.map()
    assert await router.refreshed(than=first.version - 1) is first
    assert (await router.refreshed(than=first.version)).version == first.version


async def test_settings_that_leave_a_shard_out_are_refused_instead_of_giving_partial_answers(
    cluster_dsns: Databases,
) -> None:
    fewer = dict(list(cluster_dsns.shards.items())[:2])
    async with Cluster(fewer, cluster_dsns.catalog, cluster_dsns.read_model, pool_size=2) as partial:
        with pytest.raises(
            InvalidInput, match="needs shard-1, shard-2, shard-3, but the settings name shard-1, shard-2"
        ):
            await Router(partial).map()
