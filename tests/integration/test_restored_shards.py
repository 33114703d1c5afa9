"""A shard or a read model restored to an earlier state is noticed, no event is read from it, and a rebuild mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace

import pytest

from domain.errors import Refused, TryAgain
from shards.audit.audit import Audit
from shards.audit.findings import Check
from shards.outbox.lag import lag_of
from shards.outbox.marks import HistoryLost
from shards.outbox.trimming import Trimmer, slowest_position
from shards.projection.projector import Projector
from shards.projection.switching import confirm, revert
from shards.tables.versions import Version
from tests.support.postgres import create_databases, owner_of, sibling
from tests.support.projecting import project, read
from tests.support.rebuilding import rebuilt
from tests.support.restorable import SHARD, RestorableWorld, restorable_world
from tests.support.restoring import RestoredServer
from tests.support.workflow_states import WorkflowsInMemory
from tests.support.world import SagaByHand, World
from workers.migration.migrate import migrate_databases


@pytest.fixture
async def restored(
    postgres_server: str, migrated_templates: Mapping[str, str], restored_server: RestoredServer
) -> AsyncIterator[RestorableWorld]:
    async with restorable_world(postgres_server, migrated_templates, restored_server) as made:
        yield made


async def confirmed(world: World) -> SagaByHand:
    """An order of a customer on `SHARD`, with stock elsewhere."""
    saga = await world.saga(world.order(await world.customer(shard=SHARD), {await world.product("a"): 1}))
    assert await saga.open() is None
    assert await saga.reserve(0) is None
    assert (await saga.decide()).is_confirmed
    await saga.consume(0)
    await saga.credit()
    return saga


async def by_copy(restored: RestorableWorld) -> Callable[[], Awaitable[None]]:
    await restored.server.keep_copy()
    return restored.server.go_back_to_copy


async def by_promotion(restored: RestorableWorld) -> Callable[[], Awaitable[None]]:
    await restored.server.keep_standby()
    return restored.server.promote_standby


async def by_an_empty_server(restored: RestorableWorld) -> Callable[[], Awaitable[None]]:
    async def empty() -> None:
        await restored.server.start_empty(restored.databases.shards[SHARD])
        await migrate_databases(owner_of(restored.databases), lambda _: None, restored.databases)

    return empty


@pytest.mark.parametrize("way_back", [by_copy, by_promotion, by_an_empty_server])
async def test_a_shard_restored_to_before_stops_its_reader_until_a_rebuild(
    restored: RestorableWorld, way_back: Callable[[RestorableWorld], Awaitable[Callable[[], Awaitable[None]]]]
) -> None:
    await confirmed(restored.world)
    await project(restored.world)
    go_back = await way_back(restored)
    world = await restored.reopened()
    gone = [await confirmed(world) for _ in range(3)]
    await project(world)
    await go_back()

    world = await restored.reopened()
    new = await confirmed(world)
    with pytest.raises(HistoryLost, match=f"{SHARD} .* `shardwise recover`, then `shardwise projection rebuild`"):
        await restored.projector.take_next()
    assert await orders_of(world, new) == []
    shard, read_model = world.cluster.primaries[SHARD], world.cluster.read_model
    lag = (await lag_of(shard, read_model)).by_consumer[Version.LIVE]
    assert lag.is_lost
    assert lag.events > 0
    assert await slowest_position(shard, read_model) is None
    await Trimmer(shard, read_model, keep_seconds=0).take_next()
    assert (await lag_of(shard, read_model)).by_consumer[Version.LIVE].events == lag.events
    found = await damage(world)
    assert any(f"{SHARD} and the read model are of different histories" in what for what in found)
    for saga in gone:
        assert f"the read model has order {saga.order.order_id}, which {SHARD} does not have" in found

    await rebuilt(world)
    await project(world)
    assert await restored.lost() == {Version.RETIRED}
    assert await orders_of(world, new, *gone) == [new.order.order_id]
    assert [what for what in await damage(world) if "read model" in what] == []
    with pytest.raises(Refused, match="another history of shard-2"):
        await revert(read_model, world.cluster.primaries)
    again = await confirmed(world)
    await restored.projector.take_next()
    assert await orders_of(world, again) == [again.order.order_id]
    assert await confirm(read_model)
    assert await restored.lost() == set()


async def test_a_shard_that_is_idle_restarted_trimmed_rebuilt_or_crashes_is_not_taken_for_restored(
    restored: RestorableWorld,
) -> None:
    world = restored.world
    for _ in range(2):
        await confirmed(world)
        await project(world)
        assert await restored.lost() == set()
    # A reader that died between its mark and its position, and another that did so at once.
    for _ in range(2):
        await confirmed(world)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Projector, "_move", _dies)
            with pytest.raises(RuntimeError, match="killed"):
                await restored.projector._project_slice(Version.LIVE, isolate=False)
        assert await restored.lost() == set()
    await project(world)
    await world.rows(SHARD, "INSERT INTO outbox_cursor (consumer, xid) VALUES ('reactors', '9999999')")
    await Trimmer(world.cluster.primaries[SHARD], world.cluster.read_model, keep_seconds=0).take_next()
    assert await world.rows(SHARD, "SELECT count(*) FROM outbox") == [(0,)]
    await restored.server.restart()
    world = await restored.reopened()
    assert await restored.lost() == set()
    await rebuilt(world)
    assert await restored.lost() == set()
    await confirm(world.cluster.read_model)
    order = await confirmed(world)
    await project(world)
    assert await orders_of(world, order) == [order.order.order_id]
    marks, events = "SELECT count(*) FROM history_mark", "SELECT count(*) FROM outbox WHERE kind LIKE '%ark%'"
    assert await world.rows(SHARD, f"{marks} UNION ALL {events}") == [(2,), (0,)]


async def test_a_reader_that_was_given_up_does_not_delete_the_mark_of_the_next(restored: RestorableWorld) -> None:
    await confirmed(restored.world)
    await project(restored.world)
    await confirmed(restored.world)
    late, entered = restored.projector, []

    async def mark_late(cursor: object, seen: object) -> str:
        entered.append((cursor, seen))
        raise RuntimeError("given up")

    late._mark = mark_late  # type: ignore[method-assign,assignment]
    with pytest.raises(RuntimeError, match="given up"):
        await late._project_slice(Version.LIVE, isolate=False)
    await project(restored.world)
    with pytest.raises(TryAgain, match="another reader has marked"):
        await Projector._mark(late, *entered[0])
    assert await restored.lost() == set()


async def test_a_read_model_restored_to_before_is_noticed(restored: RestorableWorld, postgres_server: str) -> None:
    await confirmed(restored.world)
    await project(restored.world)
    await restored.world.cluster.close()
    name = restored.databases.read_model.rpartition("/")[2]
    await create_databases(postgres_server, {f"{name}_older": name})
    world = await restored.reopened()
    for _ in range(2):
        await confirmed(world)
        await project(world)
    world = await restored.reopened(replace(restored.databases, read_model=sibling(postgres_server, f"{name}_older")))
    await confirmed(world)
    with pytest.raises(HistoryLost):
        await restored.projector.take_next()
    await rebuilt(world)
    await project(world)
    assert await read(world, "SELECT count(*) FROM live.order_details") == [(4,)]


async def orders_of(world: World, *sagas: SagaByHand) -> list[str]:
    ids = [saga.order.order_id for saga in sagas]
    found = await read(world, "SELECT id FROM live.order_details WHERE id = ANY(:ids) ORDER BY id", ids=ids)
    return [str(row[0]) for row in found]


async def damage(world: World) -> list[str]:
    """The violations that `verify` finds, without workflows: there are none."""
    audit = Audit(world.cluster, WorkflowsInMemory(), lambda *_: None)
    await audit.run()
    return [each.what for check in Check for each in audit.findings.by_check[check].violations]


async def _dies(*_: object) -> None:
    raise RuntimeError("killed")
