"""A shard that comes back older has forgotten its last grants: it grants above them, and who had them is refused."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest

from domain.leases import LeaseLost, Wanted
from shards.leases.fence import raise_fence
from shards.leases.leases import Leases
from shards.routing.bulk_transaction import bulk_on
from tests.support.restorable import SHARD, restorable_world
from tests.support.restoring import RestoredServer
from tests.support.world import World

ELSEWHERE = "shard-3" if SHARD != "shard-3" else "shard-1"


async def write_elsewhere(world: World, name: str, token: int) -> None:
    async with bulk_on(world.cluster.shards[ELSEWHERE]) as tx:
        await raise_fence(tx, name, token)


async def test_it_grants_above_what_it_has_forgotten(
    postgres_server: str, migrated_templates: Mapping[str, str], restored_server: RestoredServer
) -> None:
    async with restorable_world(postgres_server, migrated_templates, restored_server) as restored:
        of = Leases(restored.world.router)
        shard_map = await restored.world.router.map()
        names = (f"lease-{each}" for each in itertools.count())
        name, other = itertools.islice((x for x in names if shard_map.of_lease(x).shard == SHARD), 2)
        await of.acquire(name, Wanted("one"))
        await restored.server.keep_copy()
        of = Leases((await restored.reopened()).router)
        lost = await of.acquire(other, Wanted("two"))
        await write_elsewhere(restored.world, other, lost.token)
        await of.release(name, "one", 1)
        silent = await of.acquire(name, Wanted("two"))
        await restored.server.go_back_to_copy()
        of = Leases((await restored.reopened()).router)
        # As far as it knows, `one` has it still.
        await of.release(name, "one", 1)
        for forgotten in (lost, silent):
            granted = await of.acquire(forgotten.name, Wanted("three"))
            assert granted.token > forgotten.token
            await write_elsewhere(restored.world, granted.name, granted.token)
            with pytest.raises(LeaseLost):
                await write_elsewhere(restored.world, forgotten.name, forgotten.token)
