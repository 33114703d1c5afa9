"""A bug of ours fails a workflow's task, not the workflow: a deploy mends it, and the money goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Worker

from domain.orders import Order, OrderLine
from stack.embedded.waiting import attempts
from tests.conftest import FreshNamespace
from workers.runner.sandbox import workflow_runner
from workflows.orders.saga import PlaceOrder

QUEUE = "orders"
WITHIN = timedelta(seconds=10)
SECONDS_MAX = 60
REQUEST = PlaceOrder(Order("bug", "ada", "USD", (OrderLine("TEAPOT", 1),)))


@workflow.defn(name="OrderSaga")
class WithABug:
    """As a release could have it."""

    @workflow.run
    async def run(self, request: PlaceOrder) -> str:
        return {}[request.order.order_id]


@workflow.defn(name="OrderSaga")
class AsksForAPrice:
    @workflow.run
    async def run(self, request: PlaceOrder) -> str:
        # In the history before it fails: the replay finds its result there.
        found = await workflow.execute_activity("look_up", result_type=Order, start_to_close_timeout=WITHIN)
        return found.order_id


@workflow.defn(name="OrderSaga")
class Mended:
    @workflow.run
    async def run(self, request: PlaceOrder) -> str:
        return f"{request.order.order_id} is carried out"


@workflow.defn(name="OrderSaga")
class AsksRightly:
    @workflow.run
    async def run(self, request: PlaceOrder) -> str:
        found: dict[str, str] = await workflow.execute_activity("look_up", start_to_close_timeout=WITHIN)
        return f"{found['order']} is carried out"


@activity.defn(name="look_up")
async def look_up() -> dict[str, str]:
    """Nothing that can be read as an order."""
    return {"order": "bug"}


@contextlib.asynccontextmanager
async def deployed(client: Client, kind: type) -> AsyncIterator[None]:
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[kind],
        activities=[look_up],
        workflow_runner=workflow_runner(sandboxed=False),
        max_cached_workflows=0,
    ):
        yield


async def test_a_bug_fails_its_task_until_a_deploy_mends_it(fresh_namespace: FreshNamespace) -> None:
    # At the same time: each waits for Temporal to try its task again.
    await asyncio.gather(
        _fails_until_mended(await fresh_namespace(), WithABug, Mended),
        _fails_until_mended(await fresh_namespace(), AsksForAPrice, AsksRightly),
    )


async def _fails_until_mended(client: Client, broken: type, mended: type) -> None:
    handle = await client.start_workflow("OrderSaga", REQUEST, id="order/bug", task_queue=QUEUE, result_type=str)
    async with deployed(client, broken):
        await _until_a_task_has_failed(handle)
        assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    async with deployed(client, mended), asyncio.timeout(SECONDS_MAX):
        assert await handle.result() == "bug is carried out"


async def _until_a_task_has_failed(handle: WorkflowHandle[object, str]) -> None:
    async for _ in attempts(SECONDS_MAX):
        events = (await handle.fetch_history()).events
        if any(event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED for event in events):
            return
    raise AssertionError("no task has failed")
