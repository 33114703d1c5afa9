"""What `verify` learns of workflows, from a real Temporal server."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from domain.choreography import PLACEMENT_TYPE, Reactor, placement_id, reactor_id
from shards.audit.workflows import ListedWorkflow, Work, WorkflowState, together
from shardwise.temporal.states import TemporalWorkflowStates
from tests.conftest import FreshNamespace
from workflows.orders.saga import ORDER_STATUS


@pytest.fixture
async def client(fresh_namespace: FreshNamespace) -> Client:
    return await fresh_namespace()


async def test_open_closed_and_absent_workflows_are_distinguished(client: Client) -> None:
    # Nobody polls the queue, so that what is started stays open.
    for name in ("open", "closed"):
        await client.start_workflow(
            "OrderSaga",
            id=f"order/{name}",
            task_queue="nobody",
            search_attributes=TypedSearchAttributes([SearchAttributePair(ORDER_STATUS, "pending")]),
        )
    await client.start_workflow("SomethingElse", id="something/else", task_queue="nobody")
    await client.get_workflow_handle("order/closed").terminate()
    states = TemporalWorkflowStates(client)

    found = {name: await states.state_of(f"order/{name}") for name in ("open", "closed", "absent")}

    assert [state.work for state in found.values()] == [Work.OPEN, Work.CLOSED, Work.ABSENT]
    assert found["open"] == await states.state_of("order/open")
    expected = [
        ListedWorkflow("order/closed", Work.CLOSED, "pending"),
        ListedWorkflow("order/open", Work.OPEN, "pending"),
    ]
    async with asyncio.timeout(10):  # What is listed lags behind by some milliseconds.
        while sorted([each async for each in states.listed()], key=lambda each: each.saga_id) != expected:
            pass


async def test_a_placement_is_listed_as_its_order_s_and_reactors_are_not(client: Client) -> None:
    # First, so that it would be listed by the time that the placement is.
    await client.start_workflow(
        Reactor.SHIP_ORDER.workflow_type, id=reactor_id(Reactor.SHIP_ORDER, "choreographed", 4), task_queue="nobody"
    )
    await client.start_workflow(PLACEMENT_TYPE, id=placement_id("choreographed"), task_queue="nobody")
    states = TemporalWorkflowStates(client)
    async with asyncio.timeout(10):
        while [each async for each in states.listed()] != [ListedWorkflow("order/choreographed", Work.OPEN, None)]:
            pass


def test_of_several_workflows_any_that_is_open_works_on_their_saga() -> None:
    absent, first = WorkflowState(Work.ABSENT), WorkflowState(Work.CLOSED, "1", completed=True)
    second = WorkflowState(Work.OPEN, "2")
    assert together([absent, first, second]) == WorkflowState(Work.OPEN, "1 2", completed=True)
    assert together([absent, first]) == first
    assert together([absent, absent]) == together([]) == absent
    assert together([first, second]) != together([first, WorkflowState(Work.OPEN, "3")])


async def test_a_run_of_its_own_is_another_state(client: Client) -> None:
    states = TemporalWorkflowStates(client)
    seen = []
    for _ in range(2):
        handle = await client.start_workflow("OrderSaga", id="order/again", task_queue="nobody")
        await handle.terminate()
        seen.append(await states.state_of("order/again"))

    assert seen[0].work is seen[1].work is Work.CLOSED
    assert seen[0] != seen[1]
