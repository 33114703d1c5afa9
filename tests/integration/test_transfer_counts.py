"""Counts of transfers that follow the outbox agree with the table, whatever is open meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from sqlalchemy import text

from domain.sagas import Reason, Refusal
from domain.transfers import TransferState
from shards.monitoring.transfer_counts import TransferCounts, count_transfers
from tests.support.world import World, lasting_world

CANCELLED = Refusal(Reason.CANCELLED, "nobody wants it any more")
SHARD = "shard-1"


@pytest.fixture(scope="module")
async def world(postgres_server: str, migrated_templates: Mapping[str, str]) -> AsyncIterator[World]:
    """Databases of its own, since everything in them is counted."""
    async with lasting_world(postgres_server, migrated_templates) as made:
        yield made


async def count(world: World, before: TransferCounts | None = None) -> TransferCounts:
    return await count_transfers(world.cluster.primaries[SHARD], before)


def every_state(counts: TransferCounts) -> dict[TransferState, int]:
    return {state: counts.by_state.get(state, 0) for state in TransferState}


async def test_each_look_agrees_with_a_count_of_the_table(world: World) -> None:
    counts = await count(world)
    assert every_state(counts) == dict.fromkeys(TransferState, 0)
    source, far = await world.customer(shard=SHARD), await world.customer(shard="shard-2")
    settled, declined = await world.transfer(source, far, "1.00"), await world.transfer(source, far, "1.00")
    steps = [
        lambda: settled.open(),
        lambda: declined.open(),
        lambda: settled.admit(),
        lambda: settled.decide(None),
        lambda: declined.decide(CANCELLED),
        lambda: settled.credit(),
    ]
    for step in steps:
        await step()
        counts = await count(world, counts)
        assert every_state(counts) == every_state(await count(world))
    assert every_state(counts) == {
        TransferState.PENDING: 0,
        TransferState.CONFIRMED: 1,
        TransferState.DECLINED: 1,
    }


async def test_a_transaction_older_than_a_look_that_commits_after_it_is_counted_once(world: World) -> None:
    first = await count(world)
    source, far = await world.customer(shard=SHARD), await world.customer(shard="shard-2")
    quick = await world.transfer(source, far, "1.00")
    async with world.cluster.primaries[SHARD].transaction() as slow:
        await slow.execute(text("SELECT pg_current_xact_id()"))
        await quick.open()
        await quick.admit()
        await quick.decide(None)
        second = await count(world, first)
        # Its id is lower than those that the second look has counted already.
        await slow.execute(
            text("""
            INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
            VALUES ('shard-1', 'transfer/a/slow', 'transfer', 'a/slow', 1, 'TransferDeclined', '{}')
            """)
        )
    third = await count(world, second)
    confirmed, declined = TransferState.CONFIRMED, TransferState.DECLINED
    assert second.by_state[confirmed] - first.by_state.get(confirmed, 0) == 1
    assert third.by_state[declined] - second.by_state[declined] == 1
    assert every_state(await count(world, third)) == every_state(third)
