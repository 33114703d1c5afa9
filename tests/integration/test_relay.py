"""The relay of a shard as it runs: one consumer that cannot go on holds up none of the others."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest
from temporalio.client import Client

from domain.orders import OrderStatus, Style
from shards.outbox.trimming import Trimmer
from shards.projection.projector import Projector
from tests.conftest import FreshNamespace
from tests.support.application import RunningApplication, until
from tests.support.world import lasting_world
from workflows.outbox_relay import workflow_id

SHARD = "shard-2"


@pytest.fixture
async def application(
    postgres_server: str, migrated_templates: Mapping[str, str], fresh_namespace: FreshNamespace
) -> AsyncIterator[RunningApplication]:
    async with lasting_world(postgres_server, migrated_templates) as world:
        yield RunningApplication(world, await fresh_namespace())


async def test_reactors_go_on_while_the_read_model_is_not_followed(
    application: RunningApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = application.world

    async def fails(_: object) -> None:
        raise KeyError("a bug")

    async with application.at_work():
        with monkeypatch.context() as broken:
            broken.setattr(Projector, "take_next", fails)
            broken.setattr(Trimmer, "take_next", fails)
            order = world.order(await world.customer(shard=SHARD), {await world.product(near): 1 for near in "az"})
            assert await application.place(replace(order, style=Style.CHOREOGRAPHED)) is OrderStatus.CONFIRMED
            attempts = await attempts_of(application.client)
            assert attempts["start_reactors"] == 1
            assert attempts["project_events"] > 1
            assert attempts["trim_outbox"] > 1
        await until(application.has_caught_up)
        assert await application.damage() == []


async def attempts_of(client: Client) -> dict[str, int]:
    """Of the activities that follow the shard."""
    described = await client.get_workflow_handle(workflow_id(SHARD)).describe()
    return {each.activity_type.name: each.attempt for each in described.raw_description.pending_activities}
