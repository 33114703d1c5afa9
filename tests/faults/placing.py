"""Starting an order of the battery, in its case's mode."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy

from domain.orders import Order
from tests.faults.saga import WatchedSaga
from workflows.compensation import SagaOptions
from workflows.order_saga import OrderSaga, PlaceOrder, workflow_id

STUCK_AFTER_SECONDS = 3.0


async def place(saga: WatchedSaga, client: Client, queue: str, task_timeout: timedelta) -> None:
    """The case's order; before it, to its end, the one that takes its id where the case wants that."""
    first = saga.goods.first
    if first is not None:
        await _start(first, saga, client, queue, task_timeout)
        await saga.handle.result()
    await _start(saga.goods.order, saga, client, queue, task_timeout)


async def _start(order: Order, saga: WatchedSaga, client: Client, queue: str, task_timeout: timedelta) -> None:
    await client.start_workflow(
        OrderSaga.run,
        PlaceOrder(order, SagaOptions(saga.case.mode, STUCK_AFTER_SECONDS)),
        id=workflow_id(order.order_id),
        task_queue=queue,
        task_timeout=task_timeout,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    )
