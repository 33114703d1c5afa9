"""What the tests do with orders: place them, reach them while they run, read their statuses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus, Style
from domain.sagas import Reason, SagaOptions
from domain.steps import Phase, Step
from tests.workflow.driving import Driver
from tests.workflow.fakes import ShopInMemory, Shops, activities_of
from tests.workflow.faults import Hangs
from tests.workflow.modes import Mode
from workers.runner.sandbox import workflow_runner
from workflows.interfaces import OrderResult, PlaceOrder
from workflows.orders.choreography import REACTORS
from workflows.orders.placement import PlaceChoreographedOrder
from workflows.orders.saga import OrderSaga, workflow_id

ORDER_WORKFLOWS: list[type] = [OrderSaga, PlaceChoreographedOrder, *REACTORS.values()]
Handle = WorkflowHandle[OrderSaga, OrderResult]

USD = "USD"
TWO_APPLES_AND_A_BEET = (
    OrderLine("apple", 2, Money(5_00, USD)),
    OrderLine("beet", 1, Money(1_00, USD)),
)
TOTAL = Money(11_00, USD)


def new_worker(client: Client, queue: str, shops: Shops, cached_workflows: int) -> Worker:
    """Stops at once: whatever runs is cut off."""
    return Worker(
        client,
        task_queue=queue,
        workflows=ORDER_WORKFLOWS,
        activities=activities_of(shops),
        workflow_runner=workflow_runner(sandboxed=True),
        max_cached_workflows=cached_workflows,
    )


class OrderDriver(Driver):
    def __init__(
        self,
        env: WorkflowEnvironment,
        shop: ShopInMemory,
        mode: Mode,
        order_id: str,
        queue: str,
        task_timeout: timedelta = timedelta(seconds=5),
    ) -> None:
        super().__init__(env, mode, shop)
        self.shop = shop
        self.order_id = order_id
        self._queue = queue
        self.task_timeout = task_timeout

    async def place(
        self,
        lines: tuple[OrderLine, ...] = TWO_APPLES_AND_A_BEET,
        customer_id: str = "ada",
        window_seconds: float = 0,
        stuck_after_seconds: float = 30,
    ) -> Handle:
        order = Order(self.order_id, customer_id, USD, lines)
        options = SagaOptions(self.mode.mode, stuck_after_seconds)
        handle = await self.env.client.start_workflow(
            OrderSaga.run,
            PlaceOrder(order, options, window_seconds),
            id=workflow_id(order.order_id),
            task_queue=self._queue,
            task_timeout=self.task_timeout,
        )
        self.started.append(handle)
        return handle

    async def fails_durably(self, step: str) -> None:
        """Waits until the step, which an outage hit, is retried by the server."""
        await until(lambda: self.shop.calls.count(step) > self.local_attempts)

    def status(self) -> OrderStatus:
        return OrderStatus.of_state(self.shop.rows[self.order_id].state)

    def assert_aborted(self, result: OrderResult, reason: Reason, shares: str = "ab") -> None:
        """Every step is undone, the last first, whether it was reached or not, and nothing of the order is left.
        `shares`: the SKU ranges of the order."""
        assert result.refusal is not None, result
        assert result.refusal.reason == reason
        assert result.status is (OrderStatus.CANCELLED if reason is Reason.CANCELLED else OrderStatus.REJECTED)
        released = [f"release_stock/{sku_range}" for sku_range in shares]
        assert sorted(self.shop.undone()[: len(released)]) == released
        without_row = [] if self.order_id in self.shop.rows else ["refuse_order_id"]
        assert self.shop.undone()[len(released) :] == ["abort_order", *without_row]
        self.shop.assert_whole()
        if without_row:
            assert self.shop.lookups[self.order_id].refusal == result.refusal
        else:
            assert self.status() is result.status

    def assert_confirmed(self, result: OrderResult) -> None:
        assert (result.status, result.refusal) == (OrderStatus.CONFIRMED, None)
        assert self.status() is OrderStatus.CONFIRMED
        assert self.shop.undone() == []
        self.shop.assert_whole()


async def events(handle: Handle, kind: EventType.ValueType) -> list[HistoryEvent]:
    return [event for event in (await handle.fetch_history()).events if event.event_type == kind]


async def only_hangs(handle: Handle, hang: Hangs) -> None:
    """Until the hanging attempt is the one thing the order waits for.

    An activity's answer that crosses the workflow's own cancel of it hangs this test server, and only this one.
    """
    await hang.reached.wait()

    async def settled() -> bool:
        names = [EventType.Name(event.event_type) for event in (await handle.fetch_history()).events]
        activities = names.count("EVENT_TYPE_ACTIVITY_TASK_SCHEDULED") - names.count(
            "EVENT_TYPE_ACTIVITY_TASK_COMPLETED"
        )
        tasks = names.count("EVENT_TYPE_WORKFLOW_TASK_SCHEDULED") - names.count("EVENT_TYPE_WORKFLOW_TASK_COMPLETED")
        return (activities, tasks) == (1, 0)

    await until(settled)


async def scheduled(handle: Handle, activity: str) -> int:
    """How many regular activities of this name the history holds; attempts are not in it."""
    found = await events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    return sum(event.activity_task_scheduled_event_attributes.activity_type.name == activity for event in found)


async def statuses(handle: Handle) -> list[str]:
    """The values of the search attribute OrderStatus, in the order in which they were set."""
    kind = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    found: list[str] = []
    for event in await events(handle, kind):
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        # A `workflow.patched` sets an attribute of its own.
        if "OrderStatus" in fields:
            found.append(fields["OrderStatus"].data.decode().strip('"[]'))
    return found


def walked(style: Style, ranges: Sequence[str] = ("a", "b")) -> tuple[str, ...]:
    """The steps of a good order at agreed prices, as `ShopInMemory.calls` has them."""
    steps = [step for step in Step if step.is_of_orders and step.is_of(style) and step is not Step.PRICE_LINES]
    return tuple(
        f"{step}/{part}" if part else str(step)
        for step in steps
        if step.phase is not Phase.COMPENSATION
        for part in (ranges if step.declared.parts is not None else ("",))
    )


async def until(holds: Callable[[], Any], seconds: float = 15) -> None:
    """Waits for a condition that the worker's own activities bring about; `holds` may be a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            answer = holds()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.01)
