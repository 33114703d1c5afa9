"""The rebuild's workflow on a real Temporal server, in the sandbox: short calls, a worker that goes, one that joins."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from shards.projection.filling import filled
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.conftest import FreshNamespace
from tests.support.projecting import project
from tests.support.rebuilding import begun, content, fill
from tests.support.world import World, lasting_world
from workers.run import new_worker
from workflows.interfaces import Phase, Rebuild, Rebuilt
from workflows.read_model_rebuild import TASK_QUEUE, WORKFLOW_ID, ReadModelRebuild

Handle = WorkflowHandle[ReadModelRebuild, Rebuilt]

_numbers = itertools.count(1)
# Each call of the activity ends after one chunk of one row.
SLOWLY = Rebuild(chunk_rows=1, fill_seconds=0)


@dataclass(frozen=True)
class RebuildWorld:
    client: Client
    world: World
    queue: str

    async def begin(self, rebuild: Rebuild) -> Handle:
        return await self.client.start_workflow(ReadModelRebuild.run, rebuild, id=WORKFLOW_ID, task_queue=self.queue)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        settings = Settings(workflow_sandbox=True)
        async with new_worker(self.client, self.world.router, settings, TASK_QUEUE, polled=self.queue):
            yield


@pytest.fixture
async def site(
    postgres_server: str, migrated_templates: Mapping[str, str], fresh_namespace: FreshNamespace
) -> AsyncIterator[RebuildWorld]:
    async with lasting_world(postgres_server, migrated_templates) as world:
        for _ in range(3):
            saga = await world.saga(world.order(await world.customer(), {await world.product("m"): 3}))
            assert await saga.open() is None
        await project(world)
        yield RebuildWorld(await fresh_namespace(), world, f"rebuilds-{next(_numbers)}")


async def test_many_short_calls_fill_compare_and_switch(site: RebuildWorld) -> None:
    built = await content(site.world)
    handle = await site.begin(SLOWLY)
    async with site.worker():
        done = await handle.result()
        assert await handle.query(ReadModelRebuild.phase) is Phase.SWITCHED
    assert done.phase is Phase.SWITCHED
    assert set(done.compared) == {*site.world.cluster.primaries, "within"}
    looked_at = sum(each.next.rows for each in done.compared.values())
    assert looked_at == sum(len(rows) for table, rows in built.items() if table != "sales")
    assert {(each.next.wrong, each.live.wrong) for each in done.compared.values()} == {(0, 0)}
    assert await content(site.world) == built
    refused = await site.begin(SLOWLY)
    async with site.worker():
        again = await refused.result()
    assert (again.phase, again.refusal_code) == (Phase.REFUSED, "retired_unconfirmed")


async def test_another_worker_goes_on_where_one_has_left(site: RebuildWorld) -> None:
    built = await content(site.world)
    handle = await site.begin(SLOWLY)
    # What a worker that leaves had already been handed comes back after a heartbeat's time, and that twice.
    for more in (3, 9):
        rows = 0
        async with site.worker():
            async for _ in attempts(60):
                if (rows := sum(each.rows for each in await filled(site.world.cluster.read_model))) > more:
                    break
        assert rows > more
    async with site.worker():
        assert (await handle.result()).phase is Phase.SWITCHED
    assert await content(site.world) == built


async def test_a_later_rebuild_ends_an_earlier_one(site: RebuildWorld) -> None:
    """A chunk of the earlier one that was at work may still land in the later one's version, where it belongs too."""
    built = await content(site.world)
    handle = await site.begin(SLOWLY)
    async with site.worker():
        async for _ in attempts(30):
            if await filled(site.world.cluster.read_model):
                break
        later = await begun(site.world)
        with pytest.raises(WorkflowFailureError) as failed:
            await handle.result()
    assert "another rebuild began" in str(failed.value.cause.cause)
    await fill(site.world, later)
    assert await content(site.world, "next") == built


async def test_a_cancelled_rebuild_leaves_the_live_version_alone(site: RebuildWorld) -> None:
    built = await content(site.world)
    handle = await site.begin(SLOWLY)
    async with site.worker():
        async for _ in attempts(30):
            if await filled(site.world.cluster.read_model):
                break
        await handle.cancel()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert await content(site.world) == built
