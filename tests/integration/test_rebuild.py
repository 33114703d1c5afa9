"""A new version of the read model beside the old: filled while orders go on, switched to, kept until confirmed."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Mapping

import pytest

from domain.errors import Refused, ShardwiseError
from domain.sagas import Reason, Refusal
from shards.outbox.cursors import RebuildNeeded, trim
from shards.outbox.trimming import Trimmer
from shards.projection.filling import Filling, Part, filled, to_fill
from shards.projection.projector import Projector
from shards.projection.switching import Superseded, begin, confirm, revert, switch
from shards.tables.versions import Version, rebuild_ids
from tests.support.projecting import project, read
from tests.support.rebuilding import begun, content, fill, fillings, rebuilt
from tests.support.world import World, lasting_world

POLLS = 8


@pytest.fixture
async def world(postgres_server: str, migrated_templates: Mapping[str, str]) -> AsyncIterator[World]:
    """A world for one test, since the whole read model is switched. With projected orders of every end."""
    async with lasting_world(postgres_server, migrated_templates) as made:
        await make_orders(made, 4)
        await project(made)
        yield made


async def make_orders(world: World, count: int) -> None:
    for n in range(count):
        customer = await world.customer()
        skus = [await world.product("a"), await world.product("z")]
        saga = await world.saga(world.order(customer, dict.fromkeys(skus, n + 1)))
        assert await saga.open() is None
        if n % 3 == 1:
            refusal = Refusal(Reason.OUT_OF_STOCK, "nothing left")
            await saga.decide(refusal)
            await saga.undo_all(refusal)
        elif n % 3 == 0:
            for share in range(len(saga.shares)):
                assert await saga.reserve(share) is None
            assert (await saga.decide()).is_confirmed
            for share in range(len(saga.shares)):
                await saga.consume(share)
            await saga.credit()


async def versions(world: World) -> set[str]:
    async with world.cluster.read_model.transaction() as connection:
        return {version.value for version in await rebuild_ids(connection)}


async def test_a_version_filled_from_the_tables_equals_the_one_built_from_events(world: World) -> None:
    built = await content(world)
    assert all(built.values()), "a table without a row proves nothing"
    await fill(world, await begun(world), chunk_rows=3)
    assert await content(world, "next") == built
    counted = {
        (each.shard, each.part): each.rows
        for shard in world.cluster.primaries.values()
        for each in await to_fill(shard)
    }
    assert {(each.shard, each.part): each.rows for each in await filled(world.cluster.read_model)} == counted


async def test_tables_of_a_new_version_have_the_names_that_migrations_know(world: World) -> None:
    names = "SELECT tablename, indexname FROM pg_indexes WHERE schemaname = 'live' ORDER BY 1, 2"
    before = await read(world, names)
    await rebuilt(world)
    assert await read(world, names) == before


@pytest.mark.parametrize("chunks", [1, 4, 7])
async def test_a_filling_that_dies_between_chunks_is_gone_on_with(world: World, chunks: int) -> None:
    built, rebuild_id = await content(world), await begun(world)
    for filling in fillings(world, rebuild_id, chunk_rows=2):
        await filling.begin()
        for _ in range(chunks):
            await filling.step()
    progress = await filled(world.cluster.read_model)
    await begin(world.cluster.read_model, rebuild_id)
    for filling in fillings(world, rebuild_id, chunk_rows=2):
        await filling.begin()
    assert await filled(world.cluster.read_model) == progress
    await fill(world, rebuild_id, chunk_rows=2)
    assert await content(world, "next") == built


async def test_a_filling_that_is_cancelled_in_a_chunk_leaves_whole_chunks(world: World) -> None:
    built, rebuild_id = await content(world), await begun(world)
    for cancelled_after in itertools.count():
        filling = asyncio.create_task(fill(world, rebuild_id, chunk_rows=1))
        for _ in range(3 * cancelled_after**2):
            await asyncio.sleep(0)
        if filling.done():
            break
        filling.cancel()
        await asyncio.gather(filling, return_exceptions=True)
    await filling
    assert cancelled_after > 3
    assert await content(world, "next") == built


async def test_orders_that_go_on_while_it_is_filled_are_in_it_when_it_is_live(world: World) -> None:
    rebuild_id = await begun(world)
    orders = asyncio.create_task(make_orders(world, 6))
    while not orders.done():
        for filling in fillings(world, rebuild_id, chunk_rows=2):
            await filling.begin()
            await filling.step()
        for shard in world.cluster.primaries.values():
            await Projector(shard, world.cluster.read_model).take_next()
    await orders
    await fill(world, rebuild_id, chunk_rows=2)
    await switch(world.cluster.read_model, world.cluster.primaries, rebuild_id)
    await project(world)
    await project(world, Version.RETIRED)
    assert await content(world, "live") == await content(world, "retired")


async def test_events_that_were_trimmed_unseen_have_the_shard_filled_again(world: World) -> None:
    rebuild_id = await begun(world)
    shard = world.cluster.primaries["shard-1"]
    filling = Filling(shard, world.cluster.read_model, rebuild_id, chunk_rows=2)
    await filling.begin()
    while await filling.step():
        pass
    await make_orders(world, 2)
    await project(world)
    async with shard.transaction() as connection:
        # As by a trimmer that had read the positions before this one was taken.
        assert await trim(connection, "9999999", keep_seconds=0) > 0
    with pytest.raises(RebuildNeeded):
        await filling.follow()
    await fill(world, rebuild_id)
    assert await content(world, "next") == await content(world)


async def test_a_switch_is_one_moment_for_readers_and_never_to_something_older(world: World) -> None:
    rebuild_id = await begun(world)
    await fill(world, rebuild_id)
    page = "SELECT count(*), sum(version), (SELECT sum(stated) FROM live.account_details) FROM live.order_details"
    seen: list[tuple[int, int]] = []
    switched = asyncio.Event()

    async def poll() -> None:
        # Some more after the switch.
        after = 0
        while after < POLLS:
            [(orders, versions, _)] = await read(world, page)
            seen.append((orders, versions))
            after += switched.is_set()

    readers = [asyncio.create_task(poll()) for _ in range(3)]
    await make_orders(world, 3)
    # Live is ahead of `next` now: the switch has to bring it there.
    await project(world)
    await switch(world.cluster.read_model, world.cluster.primaries, rebuild_id)
    switched.set()
    await asyncio.gather(*readers)
    [(orders, version_sum, _)] = await read(world, page)
    assert max(seen) == (orders, version_sum) == (7, version_sum)
    assert min(seen) >= (4, 0)
    assert await versions(world) == {"live", "retired"}


async def test_no_reader_goes_back_in_time(world: World) -> None:
    """One reader, so that what it saw is in the order in which it saw it."""
    page = "SELECT count(*), sum(version) FROM live.order_details"
    seen: list[tuple[object, ...]] = []
    done = asyncio.Event()

    async def poll() -> None:
        while not done.is_set():
            seen.extend(await read(world, page))

    reader = asyncio.create_task(poll())
    for _ in range(2):
        await make_orders(world, 1)
        await project(world)
        await rebuilt(world)
        await confirm(world.cluster.read_model)
    done.set()
    await reader
    assert seen == sorted(seen, key=lambda row: tuple(int(str(value)) for value in row))
    assert len(set(seen)) > 1


async def test_a_switch_happens_once_and_a_writer_that_waited_through_it_starts_again(world: World) -> None:
    rebuild_id = await begun(world)
    await fill(world, rebuild_id)
    await make_orders(world, 2)
    projectors = [Projector(shard, world.cluster.read_model) for shard in world.cluster.primaries.values()]
    twice = [switch(world.cluster.read_model, world.cluster.primaries, rebuild_id) for _ in range(2)]
    results = await asyncio.gather(*twice, *(each.take_next() for each in projectors), return_exceptions=True)
    assert [each for each in results if isinstance(each, Exception) and not isinstance(each, ShardwiseError)] == []
    assert await versions(world) == {"live", "retired"}
    await project(world)
    await project(world, Version.RETIRED)
    assert await content(world, "live") == await content(world, "retired")


async def test_the_old_version_is_kept_up_to_date_until_it_is_confirmed(world: World) -> None:
    await rebuilt(world)
    with pytest.raises(Refused, match="projection confirm"):
        await begun(world)
    await make_orders(world, 1)
    for shard in world.cluster.primaries.values():
        await Projector(shard, world.cluster.read_model).take_next()
    assert await content(world, "retired") == await content(world, "live")
    assert await confirm(world.cluster.read_model)
    assert not await confirm(world.cluster.read_model)
    assert await versions(world) == {"live"}
    await rebuilt(world)


async def test_a_revert_brings_the_old_version_back_up_to_date(world: World) -> None:
    await read(world, "UPDATE live.customer SET name = 'as it was before'")
    await rebuilt(world)
    await make_orders(world, 1)
    await project(world)
    orders = await read(world, "SELECT id, state, version FROM live.order_details ORDER BY id")
    assert await revert(world.cluster.read_model, world.cluster.primaries)
    assert await versions(world) == {"live"}
    assert await read(world, "SELECT id, state, version FROM live.order_details ORDER BY id") == orders
    assert ("as it was before",) in await read(world, "SELECT name FROM live.customer")
    await make_orders(world, 1)
    await project(world)
    with pytest.raises(Refused, match="no version"):
        await revert(world.cluster.read_model, world.cluster.primaries)


async def test_a_revert_drops_what_was_left_before_a_switch(world: World) -> None:
    built = await content(world)
    await begun(world)
    assert not await revert(world.cluster.read_model, world.cluster.primaries)
    assert await versions(world) == {"live"}
    assert await content(world) == built


async def test_another_rebuild_begins_anew_and_the_first_one_ends(world: World) -> None:
    first = await begun(world)
    filling = fillings(world, first)[0]
    await filling.begin()
    second = await begun(world)
    with pytest.raises(Superseded):
        await filling.begin()
    with pytest.raises(Superseded):
        await switch(world.cluster.read_model, world.cluster.primaries, first)
    with pytest.raises(ShardwiseError, match="not filled from shard-1, shard-2, shard-3"):
        await switch(world.cluster.read_model, world.cluster.primaries, second)
    # As a worker that was stopped in the first one and wakes up in the second.
    await fillings(world, second)[0].begin()
    with pytest.raises(Superseded):
        await filling.step()
    with pytest.raises(Superseded):
        await switch(world.cluster.read_model, world.cluster.primaries, str(uuid.uuid4()))


async def test_a_row_that_a_new_version_refuses_is_parked_and_the_rest_is_filled(world: World) -> None:
    [(order_id,)] = await read(world, "SELECT min(id) FROM live.order_details")
    rebuild_id = await begun(world)
    await read(world, f"ALTER TABLE next.order_details ADD CONSTRAINT of_a_test CHECK (id <> '{order_id}')")
    await fill(world, rebuild_id)
    [(reason,)] = await read(world, "SELECT reason FROM next.parked_aggregate WHERE aggregate_id = :id", id=order_id)
    assert "of_a_test" in str(reason)
    kept = {row[0] for row in await read(world, "SELECT id FROM next.order_details")}
    assert kept == {row[0] for row in await read(world, "SELECT id FROM live.order_details")} - {order_id}


async def test_a_read_model_that_was_lost_is_mended_though_events_are_gone(world: World) -> None:
    built = await content(world)
    for shard in world.cluster.primaries.values():
        await world.rows(shard.name, "INSERT INTO outbox_cursor (consumer, xid) VALUES ('reactors', '9999999')")
        await Trimmer(shard, world.cluster.read_model, keep_seconds=0).take_next()
    for table in (*built, "projection_cursor", "fill_progress", "parked_aggregate"):
        await read(world, f"TRUNCATE live.{table}")
    with pytest.raises(RebuildNeeded):
        await project(world)
    await rebuilt(world)
    assert await content(world) == built
    await make_orders(world, 1)
    await project(world)
    with pytest.raises(Refused, match="knew nothing of shard-1, shard-2, shard-3"):
        await revert(world.cluster.read_model, world.cluster.primaries)
    await confirm(world.cluster.read_model)
    assert {part.value for part in Part} == {each.part for each in await to_fill(world.cluster.primaries["shard-1"])}
