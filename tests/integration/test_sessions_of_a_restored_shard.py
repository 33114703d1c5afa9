"""A session that has seen what a restored shard lacks is told so, however far the shard's numbers have come again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from domain.consistency import Level
from domain.errors import SessionLost
from shards.accounts.reads import read_balance
from shards.reading.facts import look_at_primary
from shards.reading.held_session import HeldSession
from shards.reading.shard_reads import ReadSettings, ShardReads
from shards.reading.stamping import stamp, stamp_outcome
from tests.support.restorable import SHARD, RestorableWorld, restorable_world
from tests.support.restoring import RestoredServer
from tests.support.world import World


@pytest.fixture
async def restored(
    postgres_server: str, migrated_templates: Mapping[str, str], restored_server: RestoredServer
) -> AsyncIterator[RestorableWorld]:
    async with restorable_world(postgres_server, migrated_templates, restored_server) as made:
        yield made


async def wrote(world: World, held: HeldSession) -> str:
    customer = await world.customer(shard=SHARD)
    await stamp_outcome([world.cluster.shards[SHARD]], held)
    return customer


async def read(world: World, customer: str, held: HeldSession) -> None:
    reads = ShardReads(world.router, ReadSettings())
    await reads.read(
        lambda m: m.of_account(customer), lambda tx: read_balance(tx, customer), Level.READ_YOUR_WRITES, held
    )


async def test_what_was_lost_is_said_and_what_was_not_is_read(restored: RestorableWorld) -> None:
    """By a plain copy of its files. Of a promotion: `tests/histories/promotion.py`."""
    kept, lost = HeldSession(), HeldSession()
    customer = await wrote(restored.world, kept)
    await restored.server.keep_copy()
    world = await restored.reopened()
    await wrote(world, lost)
    [(_, told)] = list(lost.session.wrote)
    await restored.server.go_back_to_copy()

    world = await restored.reopened()
    # The new history uses the same positions and transaction ids again, and passes what the session was told.
    while (now := await stamp(world.cluster.shards[SHARD])).point.lsn <= told.lsn or now.point.event <= told.event:
        await world.customer(shard=SHARD)
        await world.as_owner(SHARD, "SELECT pg_switch_wal()")
    async with world.cluster.primaries[SHARD].autocommit() as connection:
        assert (await look_at_primary(connection, [told])).snapshot_xmax > told.event
    with pytest.raises(SessionLost, match=f"{SHARD} lacks what this session"):
        await read(world, customer, lost)
    # An outcome of that session is returned all the same, and makes up for nothing.
    await wrote(world, lost)
    with pytest.raises(SessionLost):
        await read(world, customer, lost)
    await read(world, customer, kept)
    await read(world, customer, HeldSession())
