"""Orders go on when workers stop and start."""

from __future__ import annotations

import asyncio
import itertools
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.sagas import Reason
from tests.workflow.driving import Driver
from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import Hangs
from tests.workflow.modes import WITHOUT_CACHE, Mode
from tests.workflow.order_driver import OrderDriver, new_worker
from tests.workflow.test_cancelling import HOUR, window_open
from workflows.orders.saga import OrderSaga, workflow_id

# A cache would bind the order to its first worker for ten seconds of this server's time, which then does not skip.
in_both_modes = pytest.mark.parametrize("mode", WITHOUT_CACHE, ids=str)
_numbers = itertools.count(1)


@pytest.fixture
def orders(env: WorkflowEnvironment, driven: list[Driver], shop: ShopInMemory, mode: Mode) -> OrderDriver:
    """With a task queue of its own, where no worker polls yet."""
    name = f"restarting-{next(_numbers)}"
    made = OrderDriver(env, shop, mode, order_id=name, queue=name, task_timeout=timedelta(seconds=1))
    driven.append(made)
    return made


def worker_of(orders: OrderDriver) -> Worker:
    shops = {workflow_id(orders.order_id): orders.shop}
    return new_worker(orders.env.client, orders.order_id, shops, orders.mode.cached_workflows)


@in_both_modes
async def test_a_new_worker_takes_an_order_over_inside_its_window(orders: OrderDriver, shop: ShopInMemory) -> None:
    async with worker_of(orders):
        handle = await orders.place(window_seconds=HOUR)
        await window_open(handle)
    async with worker_of(orders):
        orders.assert_confirmed(await handle.result())
    assert shop.calls.count("open_order") == 1


LOCAL, REGULAR = WITHOUT_CACHE


# A worker that stops waits for a local activity until its time-out, five seconds: one step stands for all there.
@pytest.mark.parametrize(
    ("mode", "step"),
    [
        (REGULAR, "open_order"),
        (REGULAR, "reserve_stock/b"),
        (REGULAR, "decide_order"),
        (REGULAR, "credit_merchant"),
        (LOCAL, "decide_order"),
    ],
    ids=str,
)
async def test_a_worker_that_stops_inside_a_step_does_not_cancel_the_order(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    cut_off = Hangs()
    shop.inject(step, cut_off)
    async with worker_of(orders):
        handle = await orders.place()
        await cut_off.reached.wait()
    async with worker_of(orders):
        orders.assert_confirmed(await handle.result())


@in_both_modes
async def test_a_cancel_by_temporal_before_the_first_step_leaves_nothing(
    orders: OrderDriver, shop: ShopInMemory
) -> None:
    handle = await orders.place()
    await handle.cancel()
    async with worker_of(orders):
        orders.assert_aborted(await handle.result(), Reason.CANCELLED)
    assert "open_order" not in shop.calls


@in_both_modes
async def test_a_cancel_by_update_before_the_first_step_leaves_nothing(orders: OrderDriver, shop: ShopInMemory) -> None:
    handle = await orders.place()
    asked = asyncio.create_task(handle.execute_update(OrderSaga.cancel))
    try:
        async with worker_of(orders):
            decision = await asked
            result = await handle.result()
    finally:
        asked.cancel()
    assert decision.refusal == result.refusal
    shop.assert_whole()
