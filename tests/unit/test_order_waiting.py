"""What an order waits for, read from recorded histories that are cut off where it waited."""

from __future__ import annotations

from pathlib import Path

import pytest
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from shardwise.orders.documents import why_of
from shardwise.orders.waiting import waits_for
from tracing.facts import Run
from tracing.history import read_run
from tracing.workflow_runs import add_pending

HISTORIES = Path(__file__).parent.parent / "workflow" / "histories" / "orders"


async def run_until(name: str, last_kind: str) -> Run:
    """The history up to its first event of this kind."""
    events = list(WorkflowHistory.from_json("order/x", (HISTORIES / f"{name}.json").read_text()).events)
    kinds = [(event.WhichOneof("attributes") or "").removesuffix("_event_attributes") for event in events]
    return await read_run("order/x", "a-run", events[: kinds.index(last_kind) + 1], pydantic_data_converter)


async def test_an_order_in_its_window_says_until_when() -> None:
    run = await run_until("cancelled_in_its_window", "timer_started")
    text = waits_for([run])
    assert text is not None
    assert text.startswith("the end of its cancellation window, 20")
    assert text.endswith("Z")


async def test_a_step_that_is_tried_again_is_named_with_its_last_failure() -> None:
    run = await run_until("stuck_then_retried", "timer_started")
    [waiting] = [each for each in run.rounds if each.end is None]
    pending = DescribeWorkflowExecutionResponse()
    activity = pending.pending_activities.add(activity_id=waiting.activity_id, attempt=4)
    activity.last_failure.message = "shard-1 does not answer"
    add_pending(run, pending)
    text = waits_for([run])
    assert text is not None
    assert text.startswith("reserve on shard-1: ")
    assert text.endswith(", 3 attempts, the last one: shard-1 does not answer")
    assert ";" not in text  # The watchdog is the same step's.


async def test_an_order_that_no_worker_has_taken_waits_for_one() -> None:
    run = await run_until("confirmed_on_two_shards", "workflow_task_scheduled")
    pending = DescribeWorkflowExecutionResponse()
    pending.pending_workflow_task.state = 1
    pending.pending_workflow_task.scheduled_time.FromJsonString("2026-11-25T12:00:00Z")
    add_pending(run, pending)
    assert waits_for([run]) == "a worker, since 2026-11-25T12:00:00Z"


async def test_between_its_steps_only_that_is_shown_and_an_ended_order_waits_for_nothing() -> None:
    begun = await run_until("confirmed_on_two_shards", "workflow_task_started")
    assert waits_for([begun]) == "the step that a worker is at now"
    ended = await run_until("confirmed_on_two_shards", "workflow_execution_completed")
    assert waits_for([ended]) is None
    assert waits_for([]) is None


@pytest.mark.parametrize(
    ("reason", "detail", "line"),
    [
        (None, None, "x"),
        ("cancelled", "cancelled before it was confirmed", "cancelled before it was confirmed"),
        ("cancelled", "somebody said so", "cancelled: somebody said so"),
        ("out_of_stock", "APPLE: 2 wanted, 1 available", "rejected: out_of_stock, APPLE: 2 wanted, 1 available"),
        ("out_of_stock", None, "rejected: out_of_stock"),
    ],
)
def test_the_reason_of_an_ending_is_shown_once(reason: str | None, detail: str | None, line: str) -> None:
    status = line.partition(":")[0].partition(" ")[0]
    assert status + why_of(status, reason, detail) == line
