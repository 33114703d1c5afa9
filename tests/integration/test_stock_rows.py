"""Stock: never sold twice, never given back twice, and no order of locks that blocks itself."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.exceptions import ApplicationError

from domain.errors import Refused
from domain.sagas import ALREADY_COMPENSATED, Reason, Refusal
from shards.stock import levels as stock
from shards.stock.levels import StockLevel
from tests.support.world import SagaByHand, World


async def saga_for(world: World, *quantities: tuple[str, int]) -> SagaByHand:
    return await world.saga(world.order("nobody", dict(quantities)))


def reasons(refusals: list[Refusal | None]) -> list[Reason]:
    return [refusal.reason for refusal in refusals if refusal is not None]


async def test_thirty_orders_for_the_last_ten_reserve_exactly_ten(world: World) -> None:
    sku = await world.product(stock=10)
    sagas = [await saga_for(world, (sku, 1)) for _ in range(30)]
    refusals = await asyncio.gather(*(saga.reserve(0) for saga in sagas))
    assert refusals.count(None) == 10
    assert set(reasons(refusals)) == {Reason.OUT_OF_STOCK}
    assert await world.goods_of(sku) == (10, 10)


async def test_orders_that_name_the_same_goods_in_opposite_order_do_not_block_each_other(world: World) -> None:
    one, other = await world.product(stock=100), await world.product(stock=100)
    there = [await saga_for(world, (one, 1), (other, 1)) for _ in range(10)]
    back = [await saga_for(world, (other, 1), (one, 1)) for _ in range(10)]
    assert await asyncio.gather(*(saga.reserve(0) for saga in [*there, *back])) == [None] * 20
    closing = [*(saga.consume(0) for saga in there), *(saga.release(0) for saga in back)]
    await asyncio.gather(*closing)
    assert [await world.goods_of(sku) for sku in (one, other)] == [(90, 0), (90, 0)]


async def test_a_share_is_reserved_whole_or_not_at_all(world: World) -> None:
    plenty, little = await world.product(stock=10), await world.product(stock=1)
    saga = await saga_for(world, (plenty, 5), (little, 2))
    assert reasons([await saga.reserve(0)]) == [Reason.OUT_OF_STOCK]
    assert [await world.goods_of(sku) for sku in (plenty, little)] == [(10, 0), (1, 0)]


async def test_a_refusal_stays_when_goods_come_in_later(world: World) -> None:
    sku = await world.product(stock=1)
    saga = await saga_for(world, (sku, 2))
    first = await saga.reserve(0)
    async with world.transaction((await world.router.map()).of_sku(sku)) as tx:
        await stock.receive(tx, f"{sku}/in", sku, 100)
    assert await saga.reserve(0) == first


async def test_unknown_goods_and_other_currencies_are_refused(world: World) -> None:
    assert reasons([await (await saga_for(world, ("a-nothing", 1))).reserve(0)]) == [Reason.UNKNOWN_SKU]
    assert reasons([await (await saga_for(world, ("z-euro", 1))).reserve(0)]) == [Reason.CURRENCY_MISMATCH]


async def test_a_release_gives_back_only_what_its_own_saga_reserved(world: World) -> None:
    sku = await world.product(stock=10)
    mine, other, refused = [await saga_for(world, (sku, quantity)) for quantity in (3, 4, 9)]
    await mine.reserve(0)
    await other.reserve(0)
    assert await refused.reserve(0) is not None
    await asyncio.gather(*(saga.release(0) for saga in (refused, mine, mine, mine)))
    assert await world.goods_of(sku) == (10, 4)
    assert await mine.reserve(0) == ALREADY_COMPENSATED
    assert await world.goods_of(sku) == (10, 4)


async def test_a_release_that_came_first_bars_the_reservation(world: World) -> None:
    sku = await world.product(stock=10)
    saga = await saga_for(world, (sku, 3))
    await saga.release(0)
    assert await saga.reserve(0) == ALREADY_COMPENSATED
    assert await world.goods_of(sku) == (10, 0)


async def test_many_reservations_and_releases_at_once_reserve_nothing_in_the_end(world: World) -> None:
    sku = await world.product(stock=10)
    sagas = [await saga_for(world, (sku, 3)) for _ in range(5)]
    await asyncio.gather(*(call(0) for saga in sagas for call in (saga.reserve, saga.release, saga.reserve)))
    assert await world.goods_of(sku) == (10, 0)


async def test_goods_leave_once_however_often_they_are_consumed(world: World) -> None:
    sku = await world.product(stock=10)
    saga = await saga_for(world, (sku, 3))
    await saga.reserve(0)
    await asyncio.gather(*(saga.consume(0) for _ in range(4)))
    assert await world.goods_of(sku) == (7, 0)


async def test_goods_whose_reservation_a_restored_shard_has_forgotten_leave_all_the_same(world: World) -> None:
    sku = await world.product(stock=10)
    saga = await saga_for(world, (sku, 3))
    for _ in range(2):
        await saga.consume(0)
        assert await world.goods_of(sku) == (7, 0)
    assert (await saga.reserve(0)) is None
    assert await world.goods_of(sku) == (7, 0)


@pytest.mark.parametrize("why", ["there is not enough", "it was released"])
async def test_consuming_goods_that_cannot_be_reserved_is_damage_and_changes_nothing(world: World, why: str) -> None:
    sku = await world.product(stock=10 if why == "it was released" else 2)
    saga = await saga_for(world, (sku, 3))
    before = await world.goods_of(sku)
    if why == "it was released":
        await saga.reserve(0)
        await saga.release(0)
    with pytest.raises(ApplicationError, match="is confirmed, but nothing is reserved of") as failure:
        await saga.consume(0)
    assert failure.value.non_retryable
    assert await world.goods_of(sku) == before


# ── receipts ────────────────────────────────────────────────────────────────────────────────────────────────


async def receive(world: World, receipt_id: str, sku: str, quantity: int) -> StockLevel:
    return await world.router.write(lambda m: m.of_sku(sku), lambda tx: stock.receive(tx, receipt_id, sku, quantity))


async def test_a_receipt_adds_its_goods_once(world: World) -> None:
    sku = await world.product(stock=1)
    levels = await asyncio.gather(*(receive(world, f"{sku}/in", sku, 5) for _ in range(6)))
    [level] = set(levels)
    assert (level.sku, level.on_hand, level.reserved, level.available) == (sku, 6, 0, 6)
    events = await world.everywhere("SELECT 1 FROM outbox WHERE saga_id = :s", s=f"receipt/{sku}/in")
    assert len(events) == 1


async def test_a_receipt_of_something_else_is_refused(world: World) -> None:
    sku, other = await world.product(stock=1), await world.product(stock=1)
    await receive(world, f"{sku}/in", sku, 5)
    for wrong_sku, quantity in ((sku, 6), (other, 5)):
        with pytest.raises(Refused, match="was 5 of") as refused:
            await receive(world, f"{sku}/in", wrong_sku, quantity)
        assert refused.value.code == "id_conflict"
    with pytest.raises(Refused, match="there is no product"):
        await receive(world, "in", "a-nothing", 1)
    assert [await world.goods_of(x) for x in (sku, other)] == [(6, 0), (1, 0)]


async def test_the_books_are_in_order(world: World) -> None:
    assert await world.violations() == []
