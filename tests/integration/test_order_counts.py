"""Counts that follow the outbox agree with the table, whatever is open meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from sqlalchemy import text

from domain.orders import OrderState
from domain.sagas import Reason, Refusal
from shards.monitoring.order_counts import OrderCounts, count_orders
from tests.support.world import SagaByHand, World, lasting_world

CANCELLED = Refusal(Reason.CANCELLED, "cancelled before it was confirmed")
SHARD = "shard-2"


@pytest.fixture(scope="module")
async def world(postgres_server: str, migrated_templates: Mapping[str, str]) -> AsyncIterator[World]:
    """Databases of its own, since everything in them is counted."""
    async with lasting_world(postgres_server, migrated_templates) as made:
        yield made


async def saga_on_the_shard(world: World, balance: str = "50.00") -> SagaByHand:
    customer = await world.customer(balance, shard=SHARD)
    return await world.saga(world.order(customer, {await world.product("a"): 1}))


async def count(world: World, before: OrderCounts | None = None) -> OrderCounts:
    return await count_orders(world.cluster.primaries[SHARD], before)


async def anew(world: World) -> dict[OrderState, int]:
    """By state, none left out, counted from the table."""
    return every_state(await count(world))


def every_state(counts: OrderCounts) -> dict[OrderState, int]:
    return {state: counts.by_state.get(state, 0) for state in OrderState}


async def test_each_look_agrees_with_a_count_of_the_table(world: World) -> None:
    counts = await count(world)
    confirmed, cancelled = await saga_on_the_shard(world), await saga_on_the_shard(world)
    steps = [
        lambda: confirmed.open(),
        lambda: cancelled.open(),
        lambda: confirmed.reserve(0),
        lambda: confirmed.decide(),
        lambda: cancelled.decide(CANCELLED),
        lambda: cancelled.abort(CANCELLED),
    ]
    for step in steps:
        await step()
        counts = await count(world, counts)
        assert every_state(counts) == await anew(world)
    assert (counts.placed, counts.finished) == (2, 2)
    assert (await count(world, counts)).placed == 2


async def test_a_transaction_older_than_a_look_that_commits_after_it_is_counted_once(world: World) -> None:
    first = await count(world)
    saga = await saga_on_the_shard(world)
    async with world.cluster.primaries[SHARD].transaction() as slow:
        await slow.execute(text("SELECT pg_current_xact_id()"))
        await saga.open()
        await saga.reserve(0)
        await saga.decide()
        second = await count(world, first)
        assert every_state(second) == await anew(world)
        # Its id is lower than those that the second look has counted already.
        await slow.execute(
            text("""
            INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
            VALUES ('shard-2', 'order/slow', 'order', 'slow', 1, 'OrderPlaced', '{}')
            """)
        )
    third = await count(world, second)
    assert (third.placed - second.placed, third.finished - second.finished) == (1, 0)
    assert (await count(world, third)).placed == third.placed


async def test_the_oldest_hold_is_the_one_placed_first_and_goes_when_it_is_captured(world: World) -> None:
    assert (await count(world)).oldest_hold is None
    old, young = await saga_on_the_shard(world), await saga_on_the_shard(world)
    await old.open()
    await young.open()
    hold = (await count(world)).oldest_hold
    assert hold is not None
    assert (hold.saga_id, hold.account_id, hold.amount) == (old.saga_id, old.order.customer_id, old.total)
    assert hold.age_seconds >= 0
    for saga in (old, young):
        await saga.reserve(0)
        await saga.decide()
    assert (await count(world)).oldest_hold is None
