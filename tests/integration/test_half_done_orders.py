"""An order abandoned after any of its steps is undone as if it had never been; late calls change nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from domain.sagas import Reason, Refusal, SagaOutcome
from tests.support.world import SagaByHand, World

CANCELLED = Refusal(Reason.CANCELLED, "cancelled before it was confirmed")

Step = Callable[[SagaByHand], Awaitable[object]]

FORWARD: list[tuple[str, Step]] = [
    ("open", lambda saga: saga.open()),
    ("reserve the first share", lambda saga: saga.reserve(0)),
    ("reserve the second share", lambda saga: saga.reserve(1)),
]
BORDERS = ["before any step", *(f"after {name}" for name, _ in FORWARD)]


@pytest.mark.parametrize("border", range(len(BORDERS)), ids=BORDERS)
async def test_undone_at_any_border_leaves_money_and_stock_as_before(world: World, border: int) -> None:
    customer = await world.customer("50.00")
    near, far = await world.product("a", stock=5), await world.product("z", stock=5)
    saga = await world.saga(world.order(customer, {near: 2, far: 3}))
    for _, step in FORWARD[:border]:
        assert await step(saga) is None

    decision = await saga.decide(CANCELLED)
    assert decision.outcome is (SagaOutcome.ABORTING if border else SagaOutcome.ABSENT)
    for _ in range(2):  # every compensation twice: an attempt whose acknowledgement was lost
        await saga.undo_all(CANCELLED)
    for _, step in FORWARD:  # and every step late: a zombie
        assert await step(saga) is not None
    assert (await saga.decide()).refusal == CANCELLED

    assert await world.money_of(customer) == (5000, 0)
    assert await world.goods_of(near) == (5, 0)
    assert await world.goods_of(far) == (5, 0)
    if border:
        assert await world.state_of(saga.order) == "cancelled"
    assert await world.violations() == []


async def test_a_whole_order_moves_its_money_and_goods_once_however_often_each_step_is_called(world: World) -> None:
    customer = await world.customer("50.00")
    near, far = await world.product("a", stock=5), await world.product("z", stock=5)
    saga = await world.saga(world.order(customer, {near: 2, far: 3}))
    merchant_before, _ = await world.money_of(saga.merchant)
    for _ in range(2):
        for _, step in FORWARD:
            assert await step(saga) is None
    for _ in range(2):
        assert (await saga.decide()).is_confirmed
    for _ in range(2):
        await saga.credit()
        await saga.consume(0)
        await saga.consume(1)
    assert (await saga.decide(CANCELLED)).is_confirmed

    assert await world.money_of(customer) == (4500, 0)
    assert await world.money_of(saga.merchant) == (merchant_before + 500, 0)
    assert await world.goods_of(near) == (3, 0)
    assert await world.goods_of(far) == (2, 0)
    assert await world.violations() == []
