"""The runs of an order's workflow, read from a real Temporal server."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from tests.conftest import FreshNamespace
from tracing.facts import Run
from tracing.workflow_runs import read_runs
from workflows.orders.saga import ORDER_STATUS


@pytest.fixture
async def client(fresh_namespace: FreshNamespace) -> Client:
    return await fresh_namespace()


async def all_runs(client: Client, count: int) -> list[Run]:
    """Once Temporal lists them all: lists lag behind by some milliseconds."""
    async with asyncio.timeout(10):
        while len(runs := await read_runs(client, "order/again")) < count:
            pass
    return runs


async def test_every_run_is_read_the_oldest_first_with_the_task_that_waits(client: Client) -> None:
    # Nobody polls the queue, so that what is started waits.
    first = await client.start_workflow("OrderSaga", id="order/again", task_queue="nobody")
    await first.terminate(reason="by mistake")
    second = await client.start_workflow("OrderSaga", id="order/again", task_queue="nobody")
    await client.start_workflow("OrderSaga", id="order/again-not", task_queue="nobody")

    # The newest is known at once, listed or not.
    assert (await read_runs(client, "order/again"))[-1].run_id == second.first_execution_run_id
    ended, waits = await all_runs(client, 2)
    assert (ended.run_id, ended.status, ended.why) == (first.first_execution_run_id, "terminated", "by mistake")
    assert (waits.status, waits.closed_at, ended.waiting_task) == ("running", None, None)
    assert waits.waiting_task is not None
    assert not waits.waiting_task.begun
    assert ended.started_at <= waits.started_at <= waits.waiting_task.since


async def test_an_unknown_workflow_has_no_runs(client: Client) -> None:
    assert await read_runs(client, "order/unheard-of") == []


async def test_a_request_for_a_cancel_is_shown(client: Client) -> None:
    handle = await client.start_workflow(
        "OrderSaga",
        "asked",
        id="order/again",
        task_queue="nobody",
        search_attributes=TypedSearchAttributes([SearchAttributePair(ORDER_STATUS, "pending")]),
    )
    await handle.cancel()
    [run] = await read_runs(client, "order/again")
    assert [request.name for request in run.requests] == ["Temporal's cancel"]
    assert (run.input, run.order_status) == ("asked", "pending")
