"""What began on an earlier release goes on with this one: real histories, replayed. See record_histories.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory

from tests.workflow.driving import Replays
from workers.run import HOSTED

FOLDER = Path(__file__).parent / "histories"
RECORDED = (
    "reactors/choreographed_to_the_end/place-order",
    "reactors/choreographed_to_the_end/1-reserve-stock",
    "reactors/choreographed_to_the_end/2-hold-payment",
    "reactors/choreographed_to_the_end/3-confirm-order",
    "reactors/choreographed_to_the_end/4-ship-order",
    "reactors/choreographed_to_the_end/4-credit-merchant",
    "reactors/choreographed_and_refused/place-order",
    "reactors/choreographed_and_refused/1-reserve-stock",
    "reactors/choreographed_and_refused/2-abort-order",
    "reactors/choreographed_and_refused/3-release-stock",
    "reactors/choreographed_and_refused/4-close-order",
    "reactors/refused_without_a_row/place-order",
    "relays/in_doubt_sweeper",
    "relays/outbox_relay",
    "relays/outbox_relay_that_tells",
    "relays/read_model_rebuild",
    "orders/cancelled_in_its_window",
    "orders/confirmed_by_the_durable_fallback",
    "orders/confirmed_on_two_shards",
    "orders/rejected_after_a_reservation",
    "orders/stuck_then_retried",
    "transfers/declined_by_its_target",
    "transfers/moved_within_a_shard",
    "transfers/settled_by_saga",
    "transfers/settled_by_two_phase_commit",
    "transfers/vetoed_in_two_phase_commit",
)


def history(name: str) -> WorkflowHistory:
    """Under the id that it had, since input and id must agree."""
    recorded = json.loads((FOLDER / f"{name}.json").read_text())
    return WorkflowHistory.from_json(
        recorded["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"], recorded
    )


def kinds(name: str) -> list[str]:
    return [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history(name).events]


def test_every_recorded_history_is_listed() -> None:
    assert {str(file.relative_to(FOLDER).with_suffix("")) for file in FOLDER.rglob("*.json")} == set(RECORDED)


async def replayed(**histories: WorkflowHistory) -> dict[str, str]:
    """What is wrong with them, by name."""
    replays = Replays()
    for name, each in histories.items():
        replays.add_history(name, each)
    return await replays.failures(
        list(dict.fromkeys(workflow for hosted in HOSTED.values() for workflow in hosted.workflows))
    )


@pytest.fixture(scope="module")
async def failures() -> dict[str, str]:
    return await replayed(**{name: history(name) for name in RECORDED})


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_history_replays(name: str, failures: dict[str, str]) -> None:
    assert failures.get(name) is None


async def test_a_history_of_other_code_does_not() -> None:
    name = "orders/confirmed_by_the_durable_fallback"
    text = (FOLDER / f"{name}.json").read_text()
    other = WorkflowHistory.from_json("other", text.replace('"name": "reserve_stock"', '"name": "order_pizza"'))
    found = await replayed(other=other, same=history("orders/confirmed_on_two_shards"))
    assert list(found) == ["other"]


@pytest.mark.parametrize("name", RECORDED)
def test_the_activities_of_a_recorded_history_are_named_after_their_steps(name: str) -> None:
    replays = Replays()
    replays.add_history(name, history(name))
    assert replays.misnamed() == []


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_history_names_no_machine(name: str) -> None:
    text = (FOLDER / f"{name}.json").read_text()
    assert set(re.findall(r'"identity": "([^"]*)"', text)) == {"a worker"}
    assert re.findall(r'"stackTrace": "[^"]', text) == []
    assert re.findall(r"site-packages|/home/|\.py\b", text) == []


@pytest.mark.parametrize(("name", "steps"), [("transfers/moved_within_a_shard", 1), ("transfers/settled_by_saga", 4)])
def test_a_transfer_costs_a_marker_for_each_step(name: str, steps: int) -> None:
    assert kinds(name) == [
        "WORKFLOW_EXECUTION_STARTED",
        "WORKFLOW_TASK_SCHEDULED",
        "WORKFLOW_TASK_STARTED",
        "WORKFLOW_TASK_COMPLETED",
        *["MARKER_RECORDED"] * steps,
        "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES",
        "WORKFLOW_EXECUTION_COMPLETED",
    ]


def test_votes_and_decision_of_a_two_phase_commit_are_in_its_history() -> None:
    assert kinds("transfers/settled_by_two_phase_commit").count("ACTIVITY_TASK_COMPLETED") == 4


def test_a_confirmed_order_on_two_shards_is_fourteen_events() -> None:
    """Eight steps, a marker each, inside one workflow task."""
    assert kinds("orders/confirmed_on_two_shards") == [
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
        ("orders/cancelled_in_its_window", "TIMER_STARTED"),
        ("orders/cancelled_in_its_window", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED"),
        ("orders/confirmed_by_the_durable_fallback", "ACTIVITY_TASK_SCHEDULED"),
        ("orders/stuck_then_retried", "TIMER_FIRED"),
        ("orders/stuck_then_retried", "WORKFLOW_EXECUTION_UPDATE_ACCEPTED"),
        ("orders/stuck_then_retried", "ACTIVITY_TASK_CANCEL_REQUESTED"),
    ],
)
def test_a_recorded_history_holds_the_case_that_it_is_kept_for(name: str, kind: str) -> None:
    assert kind in kinds(name)


def scheduled_ids(name: str) -> list[str]:
    scheduled = (event.activity_task_scheduled_event_attributes for event in history(name).events)
    return [each.activity_id for each in scheduled if each.activity_id]


def test_an_activity_is_named_after_its_step_and_a_fresh_attempt_beside_an_open_one_is_numbered() -> None:
    [sku_range] = {each.partition("/")[2] for each in scheduled_ids("orders/confirmed_by_the_durable_fallback")}
    assert scheduled_ids("orders/confirmed_by_the_durable_fallback") == [f"reserve_stock/{sku_range}"]
    first, second = scheduled_ids("orders/stuck_then_retried")
    assert second == f"{first}#2"
    found = kinds("orders/stuck_then_retried")
    # The server still held the first one open.
    assert (
        found.index("ACTIVITY_TASK_CANCELED")
        > [n for n, kind in enumerate(found) if kind == "ACTIVITY_TASK_SCHEDULED"][1]
    )


def test_each_participant_of_a_two_phase_commit_is_named() -> None:
    assert scheduled_ids("transfers/settled_by_two_phase_commit")[-2:] == [
        "commit_participant/source",
        "commit_participant/target",
    ]
    assert scheduled_ids("transfers/vetoed_in_two_phase_commit")[-2:] == [
        "prepare_participant/source/undo",
        "prepare_participant/target/undo",
    ]
