"""Orders that can be confirmed are, whatever fails on the way."""

from __future__ import annotations

import pytest

from domain.money import Money
from domain.orders import OrderLine, Style
from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import Fails, LosesAck
from tests.workflow.modes import OTHERS
from tests.workflow.order_driver import TOTAL, OrderDriver, statuses, walked

STEPS = walked(Style.ORCHESTRATED)


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_a_good_order_is_confirmed_each_step_once(orders: OrderDriver, shop: ShopInMemory) -> None:
    handle = await orders.place()
    result = await handle.result()
    orders.assert_confirmed(result)
    assert result.total == TOTAL
    assert sorted(shop.calls) == sorted(STEPS)
    assert shop.credited == TOTAL.minor
    assert await statuses(handle) == ["confirmed"]


async def test_a_line_without_a_price_takes_the_catalogues(orders: OrderDriver, shop: ShopInMemory) -> None:
    handle = await orders.place((OrderLine("apple", 3),))
    result = await handle.result()
    orders.assert_confirmed(result)
    assert result.total == Money(15_00, "USD")
    assert "price_lines" in shop.calls


async def test_an_order_that_costs_nothing_credits_nobody(orders: OrderDriver, shop: ShopInMemory) -> None:
    handle = await orders.place((OrderLine("apple", 1, Money.zero("USD")),))
    orders.assert_confirmed(await handle.result())
    assert "credit_merchant" not in shop.calls


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_twice_is_tried_a_third_time(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    shop.inject(step, Fails(), Fails())
    handle = await orders.place()
    orders.assert_confirmed(await handle.result())
    assert shop.calls.count(step) == 3


@pytest.mark.parametrize("step", STEPS)
async def test_a_commit_whose_answer_was_lost_counts_once(orders: OrderDriver, shop: ShopInMemory, step: str) -> None:
    shop.inject(step, LosesAck())
    handle = await orders.place()
    orders.assert_confirmed(await handle.result())
    assert shop.calls.count(step) == 2
