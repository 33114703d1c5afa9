"""Orders that began on an earlier release go on with this one: real histories, replayed. See record_histories.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer

from workers.sandbox import workflow_runner
from workflows.order_saga import OrderSaga

FOLDER = Path(__file__).parent / "histories"
RECORDED = (
    "confirmed_on_two_shards",
    "rejected_after_a_reservation",
    "cancelled_in_its_window",
    "confirmed_by_the_durable_fallback",
    "stuck_then_retried",
)


def history(name: str) -> WorkflowHistory:
    return WorkflowHistory.from_json(f"order/{name}", (FOLDER / f"{name}.json").read_text())


def kinds(name: str) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history(name).events]


def test_every_recorded_history_is_listed() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_order_replays(name: str) -> None:
    replayer = Replayer(
        workflows=[OrderSaga], workflow_runner=workflow_runner(sandboxed=True), data_converter=pydantic_data_converter
    )
    await replayer.replay_workflow(history(name))


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_history_names_no_machine(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text()
    assert set(re.findall(r'"identity": "([^"]*)"', text)) == {"a worker"}
    assert re.findall(r'"stackTrace": "[^"]', text) == []
    assert re.findall(r"site-packages|/home/|\.py\b", text) == []


def test_a_confirmed_order_on_two_shards_is_fourteen_events() -> None:
    """Eight steps, a marker each, inside one workflow task."""
    assert kinds("confirmed_on_two_shards") == [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
        *["MARKER_RECORDED"] * 8,
        "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
        "WORKFLOW_EXECUTION_COMPLETED",
    ]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("cancelled_in_its_window", "TIMER_STARTED"),
        ("cancelled_in_its_window", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED"),
        ("confirmed_by_the_durable_fallback", "ACTIVITY_TASK_SCHEDULED"),
        ("stuck_then_retried", "TIMER_FIRED"),
        ("stuck_then_retried", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED"),
        ("stuck_then_retried", "ACTIVITY_TASK_CANCEL_REQUESTED"),
    ],
)
def test_a_recorded_history_holds_what_it_is_there_for(name: str, kind: str) -> None:
    assert kind in kinds(name)
