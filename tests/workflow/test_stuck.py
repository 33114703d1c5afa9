"""A step that cannot succeed now raises an alarm, is never given up, and obeys the operator."""

from __future__ import annotations

import pytest

from domain.orders import OrderStatus
from domain.sagas import Reason
from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import FailsForGood, Outage
from tests.workflow.modes import OTHERS
from tests.workflow.order_driver import OrderDriver, scheduled, statuses, until
from tests.workflow.test_cancelling import HOUR, window_open
from workflows.orders.saga import OrderSaga

FORWARD_ONLY = ("consume_stock/a", "consume_stock/b", "credit_merchant")
UNDO = ("release_stock/a", "abort_order")


def make_beets_scarce(shop: ShopInMemory) -> None:
    shop.shelves["beet"].on_hand = 0
    shop.__post_init__()


@pytest.mark.parametrize("step", FORWARD_ONLY)
async def test_a_failure_that_no_retry_can_mend_after_the_decision_waits_for_the_operator(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    # What is not retryable is tried once locally.
    shop.inject(step, *[FailsForGood()] * (2 if orders.local_attempts else 1))
    handle = await orders.place()

    async def stuck() -> bool:
        return await statuses(handle) == ["stuck"]

    await until(stuck)
    await orders.env.sleep(3600)
    assert await statuses(handle) == ["stuck"]
    assert await handle.execute_update(OrderSaga.retry) is OrderStatus.PENDING
    orders.assert_confirmed(await handle.result())
    assert (await statuses(handle))[-1] == "confirmed"


@pytest.mark.parametrize("mode", OTHERS, ids=str)
@pytest.mark.parametrize("step", UNDO)
async def test_an_undo_that_fails_for_long_raises_the_alarm_and_goes_on_by_itself(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    make_beets_scarce(shop)
    outage = Outage()
    shop.inject(step, outage)
    handle = await orders.place(stuck_after_seconds=30)
    await orders.fails_durably(step)
    assert await statuses(handle) == ["compensating"]
    await orders.env.sleep(60)
    assert await statuses(handle) == ["compensating", "stuck"]
    outage.over()
    orders.assert_aborted(await handle.result(), Reason.OUT_OF_STOCK)
    assert await statuses(handle) == ["compensating", "stuck", "compensating", "rejected"]


async def test_a_forward_step_that_fails_for_long_raises_the_alarm_too(orders: OrderDriver, shop: ShopInMemory) -> None:
    outage = Outage()
    shop.inject("reserve_stock/a", outage)
    handle = await orders.place(stuck_after_seconds=30)
    await orders.fails_durably("reserve_stock/a")
    await orders.env.sleep(60)
    assert await statuses(handle) == ["stuck"]
    outage.over()
    orders.assert_confirmed(await handle.result())
    assert await statuses(handle) == ["stuck", "pending", "confirmed"]


async def test_a_stuck_order_that_is_not_decided_can_be_cancelled(orders: OrderDriver, shop: ShopInMemory) -> None:
    shop.inject("reserve_stock/a", Outage())
    handle = await orders.place(stuck_after_seconds=30)
    await orders.fails_durably("reserve_stock/a")
    await orders.env.sleep(60)
    await handle.execute_update(OrderSaga.cancel)
    orders.assert_aborted(await handle.result(), Reason.CANCELLED)


async def test_one_stuck_step_keeps_the_alarm_when_another_recovers(orders: OrderDriver, shop: ShopInMemory) -> None:
    one, other = Outage(), Outage()
    shop.inject("consume_stock/a", one)
    shop.inject("consume_stock/b", other)
    handle = await orders.place(stuck_after_seconds=30)
    await orders.fails_durably("consume_stock/a")
    await orders.fails_durably("consume_stock/b")
    await orders.env.sleep(60)
    one.over()
    await orders.env.sleep(60)
    assert set(await statuses(handle)) == {"stuck"}
    other.over()
    orders.assert_confirmed(await handle.result())
    assert (await statuses(handle))[-1] == "confirmed"


@pytest.mark.parametrize("step", ["release_stock/a", "abort_order"])
async def test_the_operators_retry_is_a_fresh_attempt_not_the_end_of_a_back_off(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    """The history has a second activity for the step; without the retry it has one, whatever its attempts."""
    make_beets_scarce(shop)
    outage = Outage()
    shop.inject(step, outage)
    handle = await orders.place(stuck_after_seconds=3600)
    await orders.fails_durably(step)
    await orders.env.sleep(30)
    activity = step.partition("/")[0]
    before = await scheduled(handle, activity)
    assert await handle.execute_update(OrderSaga.retry) is OrderStatus.COMPENSATING
    outage.over()
    orders.assert_aborted(await handle.result(), Reason.OUT_OF_STOCK)
    assert await scheduled(handle, activity) == before + 1


async def test_a_retry_is_harmless_if_nothing_waits(orders: OrderDriver, shop: ShopInMemory) -> None:
    handle = await orders.place(window_seconds=HOUR)
    await window_open(handle)
    assert await handle.execute_update(OrderSaga.retry) is OrderStatus.PENDING
    orders.assert_confirmed(await handle.result())
    assert len(shop.calls) == len(set(shop.calls))
