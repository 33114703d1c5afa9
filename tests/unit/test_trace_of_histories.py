"""The path of an order, read from recorded histories: no rows, as with every shard away."""

from __future__ import annotations

import base64
import itertools
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from cli.order.trace_tree import TraceTree
from domain.steps import Step
from shards.sagas.saga_rows import BarrierRow, SagaRows
from tracing.documents import StepDocument, TraceDocument
from tracing.facts import Run
from tracing.history import ended_by, read_run
from tracing.read import Evidence, document_of

HISTORIES = Path(__file__).parent.parent / "workflow" / "histories" / "orders"
SHARDS_AWAY = {"shard-1": None, "shard-2": None}


async def run_of(name: str) -> Run:
    history = WorkflowHistory.from_json(f"order/{name}", (HISTORIES / f"{name}.json").read_text())
    return await read_run(f"order/{name}", "a-run", history.events, pydantic_data_converter)


async def trace_of(name: str) -> TraceDocument:
    return document_of(Evidence(name, [await run_of(name)], dict(SHARDS_AWAY)))


def names(trace: TraceDocument, phase: str) -> list[str]:
    return [step.name for step in trace.steps if step.phase == phase]


def step(trace: TraceDocument, name: str, containing: str = "") -> StepDocument:
    [found] = [each for each in trace.steps if each.name == name and containing in each.summary]
    return found


def drawn(trace: TraceDocument, width: int) -> list[str]:
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(TraceTree(trace))
    return capture.get().splitlines()


async def test_a_confirmed_order_goes_forward_over_two_shards() -> None:
    trace = await trace_of("confirmed_on_two_shards")
    assert names(trace, "forward") == ["claim_order_id", "open_order", "reserve_stock", "reserve_stock"]
    assert sorted(names(trace, "completion")) == ["consume_stock", "consume_stock", "credit_merchant"]
    assert names(trace, "compensation") == []
    assert trace.status == "confirmed"
    assert trace.decision is not None
    assert trace.decision.outcome == "confirmed"
    assert {each.shard for each in trace.steps if each.name == "reserve_stock"} == {"shard-1", "shard-2"}
    assert {each.result for each in trace.steps} == {"done"}
    assert {(r.kind, r.attempts) for each in trace.steps for r in each.rounds} == {("local", 1)}


async def test_local_steps_that_follow_each_other_do_not_overlap() -> None:
    trace = await trace_of("confirmed_on_two_shards")
    chain = [step(trace, name) for name in ("claim_order_id", "open_order")]
    # Of the two that run side by side, the one that the decision has waited for.
    chain.append(
        max((each for each in trace.steps if each.name == "reserve_stock"), key=lambda each: str(each.ended_at))
    )
    chain += [step(trace, "decide_order"), step(trace, "credit_merchant")]
    for before, after in itertools.pairwise(chain):
        assert before.ended_at is not None
        assert after.started_at is not None
        assert before.ended_at <= after.started_at
        # What lies between is the workflow's own work.
        assert after.started_at - before.ended_at < timedelta(milliseconds=10)
    assert trace.runs[0].ended_at is not None
    assert max(each.ended_at for each in trace.steps if each.ended_at) <= trace.runs[0].ended_at


async def test_a_refused_step_has_its_reason_and_everything_is_undone() -> None:
    trace = await trace_of("rejected_after_a_reservation")
    refused = [each for each in trace.steps if each.result == "refused"]
    assert [each.reason for each in refused] == [trace.reason]
    assert trace.decision is not None
    assert (trace.decision.outcome, trace.decision.reason) == ("aborting", trace.reason)
    assert names(trace, "compensation")[-1] == "abort_order"
    assert (trace.status, names(trace, "completion")) == ("rejected", [])


async def test_a_cancel_comes_before_the_decision_that_it_caused_and_ends_the_window() -> None:
    trace = await trace_of("cancelled_in_its_window")
    assert names(trace, "forward")[-2:] == ["timer", "cancel"]
    window, asked, decided = step(trace, "timer"), step(trace, "cancel"), step(trace, "decide_order")
    assert (window.result, asked.result) == ("cancelled", "done")
    assert asked.detail == "answered: aborting, cancelled"
    assert window.ended_at is not None
    assert asked.started_at is not None
    assert decided.started_at is not None
    assert asked.started_at <= window.ended_at <= decided.started_at


async def test_attempts_at_a_dead_shard_are_counted_over_local_and_regular_rounds() -> None:
    trace = await trace_of("confirmed_by_the_durable_fallback")
    failing = step(trace, "reserve_stock", "shard-1")
    rounds = [(each.kind, each.attempts, each.result) for each in failing.rounds]
    assert rounds == [("local", 2, "failed"), ("regular", 2, "done")]
    assert (failing.attempts, failing.result) == (4, "done")
    assert failing.failure is not None
    assert failing.failure.startswith("shard-1 does not answer")
    assert failing.alarm is not None
    assert failing.alarm.result == "cancelled"
    # Two attempts with 100 ms between them, then one more wait.
    assert failing.rounds[0].ended_at is not None
    assert failing.rounds[0].ended_at - failing.rounds[0].started_at > timedelta(milliseconds=100)
    assert failing.seconds is not None
    assert failing.seconds > 1


async def test_a_stuck_step_shows_its_alarm_and_the_operator_s_retry() -> None:
    trace = await trace_of("stuck_then_retried")
    stuck = step(trace, "reserve_stock", "shard-1")
    rounds = [(each.kind, each.attempts, each.result) for each in stuck.rounds]
    assert rounds == [("local", 2, "failed"), ("regular", None, "cancelled"), ("regular", 3, "done")]
    assert stuck.alarm is not None
    assert (stuck.alarm.result, stuck.alarm.after_seconds) == ("fired", 0.5)
    assert step(trace, "retry").detail == "answered: pending"
    assert trace.status == "confirmed"


async def test_a_history_that_ends_early_shows_what_goes_on_and_a_closed_run_what_it_left() -> None:
    history = WorkflowHistory.from_json("order/x", (HISTORIES / "cancelled_in_its_window.json").read_text())
    until_the_window = list(history.events)[:9]
    run = await read_run("order/x", "a-run", until_the_window, pydantic_data_converter)
    trace = document_of(Evidence("x", [run], dict(SHARDS_AWAY)))
    assert (step(trace, "timer").result, trace.decision, trace.runs[0].status) == ("pending", None, "running")
    assert any("not decided" in line for line in drawn(trace, 80))

    terminated = type(until_the_window[0])(event_id=10, event_time=until_the_window[8].event_time)
    terminated.workflow_execution_terminated_event_attributes.reason = "by mistake"
    run = await read_run("order/x", "a-run", [*until_the_window, terminated], pydantic_data_converter)
    trace = document_of(Evidence("x", [run], dict(SHARDS_AWAY)))
    assert (step(trace, "timer").result, trace.runs[0].why) == ("abandoned", "by mistake")


async def test_a_lost_workflow_task_is_shown() -> None:
    started, scheduled, begun = await first_events()
    lost = timed_out(scheduled, begun, seconds=5)
    lost.workflow_task_timed_out_event_attributes.started_event_id = begun.event_id
    run = await read_run("order/x", "a-run", [started, scheduled, begun, lost], pydantic_data_converter)
    assert [each.kind for each in document_of(Evidence("x", [run], dict(SHARDS_AWAY))).steps] == ["lost_task"]


@pytest.mark.parametrize(
    ("after", "summary"),
    [
        (None, "worker-1@7 stopped taking tasks: it died or hung"),
        ("worker-1@9", "worker-1@7 stopped taking tasks: it died or hung; worker-1@9 went on"),
        ("worker-1@7", "worker-1@7 was slow to take a task, and went on"),
    ],
)
async def test_where_a_worker_died_and_another_one_went_on_is_shown(after: str | None, summary: str) -> None:
    started, scheduled, begun = await first_events()
    begun.workflow_task_started_event_attributes.identity = "worker-1@7"
    due = copy_of(scheduled, event_id=4)
    events = [started, scheduled, begun, due, timed_out(due, begun, seconds=4)]
    if after is not None:
        taken = copy_of(begun, event_id=6)
        taken.workflow_task_started_event_attributes.identity = after
        events.append(taken)
    run = await read_run("order/x", "a-run", events, pydantic_data_converter)
    trace = document_of(Evidence("x", [run], dict(SHARDS_AWAY)))
    [handover] = trace.steps
    assert (handover.kind, handover.summary) == ("handover", summary)
    assert handover.result == ("done" if after else "pending")
    assert handover.seconds == pytest.approx(4, abs=0.1)
    [line] = [line for line in drawn(trace, 200) if "worker-1@7" in line]
    assert summary in line
    assert re.search(r"[34]\.\d s", line)


async def first_events() -> list[HistoryEvent]:
    """Started, its first task scheduled and begun."""
    history = WorkflowHistory.from_json("order/x", (HISTORIES / "confirmed_on_two_shards.json").read_text())
    return list(history.events)[:3]


def copy_of(event: HistoryEvent, event_id: int) -> HistoryEvent:
    copied = HistoryEvent()
    copied.CopyFrom(event)
    copied.event_id = event_id
    return copied


def timed_out(scheduled: HistoryEvent, begun: HistoryEvent, seconds: int) -> HistoryEvent:
    lost = HistoryEvent(event_id=5, event_time=begun.event_time)
    lost.event_time.FromDatetime(scheduled.event_time.ToDatetime() + timedelta(seconds=seconds))
    lost.workflow_task_timed_out_event_attributes.scheduled_event_id = scheduled.event_id
    return lost


def test_a_failure_is_shown_by_its_innermost_cause_and_first_line() -> None:
    failure = Failure(message="Activity task failed")
    failure.activity_failure_info.activity_id = "1"
    failure.cause.message = "shard-1 does not answer\nmore"
    assert ended_by(failure) == ("failed", "shard-1 does not answer")
    failure.cause.canceled_failure_info.SetInParent()
    assert ended_by(failure)[0] == "cancelled"
    failure.cause.timeout_failure_info.timeout_type = 1
    assert ended_by(failure) == ("timed_out", "no answer in time (start to close)")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", sorted(file.stem for file in HISTORIES.glob("*.json")))
async def test_the_tree_keeps_inside_the_terminal_and_shows_the_pivot(name: str, width: int) -> None:
    trace = await trace_of(name)
    lines = drawn(trace, width)
    assert max(map(len, lines)) <= width
    assert sum("DECIDED" in line for line in lines) == 1
    assert sum("shard-1, shard-2 away" in line for line in lines) == 1
    text = " ".join(line.lstrip("│├└─ ") for line in lines)
    assert all(each.summary.split(":")[0] in text for each in trace.steps if each.phase != "decision")


async def test_without_temporal_and_rows_nothing_is_invented() -> None:
    trace = document_of(Evidence("x", None, {"shard-1": None}))
    assert (trace.status, trace.steps, trace.decision, trace.sources.temporal) == (None, [], None, "away")


# ── joined by ids ───────────────────────────────────────────────────────────────────────────────────────────────


def recorded(name: str) -> dict[str, Any]:
    history_json: dict[str, Any] = json.loads((HISTORIES / f"{name}.json").read_text())
    return history_json


async def trace_of_events(history_json: dict[str, Any], rows: SagaRows | None = None) -> TraceDocument:
    history = WorkflowHistory.from_json("order/x", history_json)
    run = await read_run("order/x", "a-run", history.events, pydantic_data_converter)
    return document_of(Evidence("x", [run], {"shard-1": rows, "shard-2": None}))


def payload(value: Any) -> dict[str, Any]:
    data = base64.b64encode(json.dumps(value).encode()).decode()
    return {"metadata": {"encoding": base64.b64encode(b"json/plain").decode()}, "data": data}


def markers(history_json: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
    """Each marker's event, its own details, and what the SDK's core keeps of the activity."""
    for event in history_json["events"]:
        details = event.get("markerRecordedEventAttributes", {}).get("details")
        if details is not None:
            yield event, details, json.loads(base64.b64decode(details["data"]["payloads"][0]["data"]))


@pytest.mark.parametrize("name", sorted(file.stem for file in HISTORIES.glob("*.json")))
async def test_no_summary_s_words_are_needed(name: str) -> None:
    """Neither to recognize the steps nor to describe them."""
    before = await trace_of_events(recorded(name))
    reworded = recorded(name)
    for event in reworded["events"]:
        if "summary" in event.get("userMetadata", {}):
            event["userMetadata"]["summary"] = payload("in other words")
    assert "in other words" not in str(before)
    after = await trace_of_events(reworded)
    assert after.model_dump(exclude={"now"}) == before.model_dump(exclude={"now"})
    assert drawn(after, 100) == drawn(before, 100)


@pytest.mark.parametrize("name", sorted(file.stem for file in HISTORIES.glob("*.json")))
async def test_every_activity_is_a_step_by_its_id(name: str) -> None:
    run = await run_of(name)
    assert [each.step for each in run.rounds] == [Step(each.activity) for each in run.rounds]


async def test_an_activity_that_carries_out_several_steps_is_shown_as_these() -> None:
    """Claiming the id and opening the order, in one."""
    history_json = recorded("confirmed_on_two_shards")
    (_, claiming, kept), (opened, opening, _) = itertools.islice(markers(history_json), 2)
    answers = [json.loads(base64.b64decode(each["result"]["payloads"][0]["data"])) for each in (claiming, opening)]
    steps = [("claim_order_id", answers[0]), ("open_order", answers[1])]
    kept |= {"activity_id": "begin_order", "activity_type": "begin_order"}
    claiming["data"]["payloads"][0] = payload(kept)
    claiming["result"]["payloads"][0] = payload({"steps": [{"activity_id": a, "answer": b} for a, b in steps]})
    history_json["events"].remove(opened)
    fine, coarse = await trace_of("confirmed_on_two_shards"), await trace_of_events(history_json)
    assert [each.name for each in coarse.steps] == [each.name for each in fine.steps]
    assert [each.phase for each in coarse.steps] == [each.phase for each in fine.steps]
    assert {each.shard for each in coarse.steps if each.name == "reserve_stock"} == {"shard-1", "shard-2"}


async def test_a_step_that_an_activity_does_not_list_is_shown_from_its_rows() -> None:
    history_json = recorded("confirmed_on_two_shards")
    _, opening, kept = next(each for each in markers(history_json) if each[2]["activity_id"] == Step.OPEN_ORDER)
    kept |= {"activity_id": "begin_order", "activity_type": "begin_order"}
    opening["data"]["payloads"][0] = payload(kept)
    at = datetime.now(UTC)
    trace = await trace_of_events(history_json, SagaRows("shard-1", (BarrierRow("open_order", "do", None, at),)))
    assert step(trace, "open_order").row is not None
    assert (step(trace, "open_order").rounds, len(step(trace, "begin_order").rounds)) == ([], 1)


async def test_a_row_of_an_unknown_step_is_shown_by_its_own_name() -> None:
    at = datetime.now(UTC)
    rows = SagaRows(
        "shard-1", (BarrierRow("order_pizza", "do", {"slices": 8}, at), BarrierRow("order_pizza", "undo", None, at))
    )
    trace = document_of(Evidence("x", None, {"shard-1": rows}))
    assert [(each.name, each.phase) for each in trace.steps] == [
        ("order_pizza", "forward"),
        ("undo order_pizza", "forward"),
    ]
