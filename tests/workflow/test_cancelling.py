"""A cancel wins or loses as a whole: the row decides, and every caller gets its answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowUpdateStage

from domain.money import Money
from domain.orders import OrderLine, OrderStatus
from domain.sagas import Reason, SagaOutcome
from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import Hangs
from tests.workflow.modes import OTHERS, Mode
from tests.workflow.order_driver import Handle, OrderDriver, events, only_hangs, until
from workflows.orders.saga import OrderSaga

HOUR = 3600.0
LINES = (OrderLine("apple", 2), OrderLine("beet", 1, Money(1_00, "USD")))


async def window_open(handle: Handle) -> None:
    """Waits until the workflow sleeps in its cancellation window: its own timer, not a step's alarm."""

    async def sleeps() -> bool:
        started = await events(handle, EventType.EVENT_TYPE_TIMER_STARTED)
        hour = int(HOUR)
        return any(e.timer_started_event_attributes.start_to_fire_timeout.seconds == hour for e in started)

    await until(sleeps)


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_cancelled_by_update_inside_the_window(orders: OrderDriver) -> None:
    handle = await orders.place(window_seconds=HOUR)
    await window_open(handle)
    decision = await handle.execute_update(OrderSaga.cancel)
    assert decision.outcome is SagaOutcome.ABORTING
    assert decision.refusal is not None
    assert decision.refusal.reason is Reason.CANCELLED
    orders.assert_aborted(await handle.result(), Reason.CANCELLED)


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_cancelled_by_temporal_inside_the_window(orders: OrderDriver) -> None:
    handle = await orders.place(window_seconds=HOUR)
    await window_open(handle)
    await handle.cancel()
    orders.assert_aborted(await handle.result(), Reason.CANCELLED)


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_a_window_that_nobody_uses_ends_in_a_confirmation(orders: OrderDriver) -> None:
    handle = await orders.place(window_seconds=HOUR)
    orders.assert_confirmed(await handle.result())


async def cancel_by_temporal(handle: Handle) -> None:
    await handle.cancel()


async def cancel_by_update(handle: Handle) -> None:
    await handle.start_update(OrderSaga.cancel, wait_for_stage=WorkflowUpdateStage.ACCEPTED)


WAYS = {"temporal": cancel_by_temporal, "update": cancel_by_update}
UNDOABLE = ("price_lines", "open_order", "reserve_stock/a", "reserve_stock/b")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", UNDOABLE)
async def test_cancelled_while_a_step_hangs_that_commits_long_after_its_undo(
    orders: OrderDriver, shop: ShopInMemory, step: str, way: str
) -> None:
    """Temporal does not kill an attempt: it commits late, and the barrier makes it a no-op."""
    zombie = orders.hang_durably(step)
    handle = await orders.place(LINES)
    await only_hangs(handle, zombie)
    await WAYS[way](handle)
    result = await handle.result()
    zombie.release()
    await zombie.ended.wait()
    orders.assert_aborted(result, Reason.CANCELLED)


@pytest.mark.parametrize("step", UNDOABLE)
async def test_cancelled_while_a_step_hangs_that_commits_at_the_same_time_as_its_undo(
    orders: OrderDriver, step: str
) -> None:
    zombie = orders.hang_durably(step)
    handle = await orders.place(LINES)
    await only_hangs(handle, zombie)
    await handle.cancel()
    await until(lambda: events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_CANCEL_REQUESTED))
    zombie.release()
    result = await handle.result()
    await zombie.ended.wait()
    orders.assert_aborted(result, Reason.CANCELLED)


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_while_the_id_is_claimed(orders: OrderDriver, shop: ShopInMemory, way: str) -> None:
    slow = orders.hang_durably("claim_order_id")
    handle = await orders.place()
    await slow.reached.wait()
    await WAYS[way](handle)
    slow.release()
    orders.assert_aborted(await handle.result(), Reason.CANCELLED)
    assert "open_order" not in shop.calls


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", ["decide_order", "consume_stock/a", "credit_merchant"])
async def test_a_cancel_after_the_workflow_requested_the_decision_is_too_late(
    orders: OrderDriver, step: str, way: str
) -> None:
    slow = orders.hang_durably(step)
    handle = await orders.place()
    await slow.reached.wait()
    await WAYS[way](handle)
    slow.release()
    orders.assert_confirmed(await handle.result())


async def test_a_cancel_after_the_decision_is_answered_with_it(orders: OrderDriver) -> None:
    slow = orders.hang_durably("credit_merchant")
    handle = await orders.place()
    await slow.reached.wait()
    decision = await handle.execute_update(OrderSaga.cancel)
    assert decision.outcome is SagaOutcome.CONFIRMED
    slow.release()
    orders.assert_confirmed(await handle.result())


@pytest.mark.parametrize("mode", OTHERS, ids=str)
@pytest.mark.parametrize("step", ["release_stock/a", "abort_order"])
async def test_more_cancels_do_not_interrupt_the_undoing(orders: OrderDriver, step: str) -> None:
    slow = orders.hang_durably(step)
    handle = await orders.place(window_seconds=HOUR)
    await window_open(handle)
    first = await handle.execute_update(OrderSaga.cancel)
    await slow.reached.wait()
    await handle.cancel()
    again = await handle.execute_update(OrderSaga.cancel)
    await handle.cancel()
    assert again == first
    slow.release()
    orders.assert_aborted(await handle.result(), Reason.CANCELLED)


async def test_two_cancels_in_the_same_moment_cancel_once(orders: OrderDriver) -> None:
    handle = await orders.place(window_seconds=HOUR)
    await window_open(handle)
    decision, again, _ = await asyncio.gather(
        handle.execute_update(OrderSaga.cancel), handle.execute_update(OrderSaga.cancel), handle.cancel()
    )
    assert decision == again
    orders.assert_aborted(await handle.result(), Reason.CANCELLED)


@pytest.mark.parametrize("mode", [Mode("local_first"), Mode("local_first", cached_workflows=0)], ids=str)
@pytest.mark.parametrize("step", ["open_order", "reserve_stock/b", "decide_order", "credit_merchant"])
async def test_a_cancel_during_local_activities_ends_as_the_row_says(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    """The workflow task that holds them all is thrown away and runs again from its start, remembering nothing."""
    slow = Hangs()
    shop.inject(step, slow)
    handle = await orders.place()
    await slow.reached.wait()
    await handle.cancel()
    slow.release()
    result = await handle.result()
    shop.assert_whole()
    assert result.status in (OrderStatus.CONFIRMED, OrderStatus.CANCELLED)
    assert result.status is orders.status()


@pytest.mark.parametrize("mode", [Mode("local_first")], ids=str)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("step", ["open_order", "reserve_stock/b"])
async def test_a_local_activity_sees_a_cancel_at_its_tasks_heartbeat(
    orders: OrderDriver, shop: ShopInMemory, step: str, way: str
) -> None:
    """It is not tried again as a regular activity, and a cancel is not taken for a failure."""
    orders.task_timeout = timedelta(seconds=1)
    zombie = Hangs()
    shop.inject(step, zombie)
    handle = await orders.place()
    await zombie.reached.wait()
    await WAYS[way](handle)
    result = await handle.result()
    zombie.release()
    await zombie.ended.wait()
    orders.assert_aborted(result, Reason.CANCELLED)
    assert shop.calls.count(step) == 1
