"""The path of an order without a coordinator, from the recorded histories of its reactors: no rows, all shards away."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from cli.order.trace_tree import TraceTree
from domain.choreography import REACTIONS, EventKind, Reactor, placement_id, reactor_id
from domain.orders import Style
from tracing.documents import TraceDocument
from tracing.facts import Run
from tracing.history import read_run
from tracing.read import Evidence, document_of

HISTORIES = Path(__file__).parent.parent / "workflow" / "histories" / "reactors"
CONFIRMED, REFUSED = "choreographed_to_the_end", "choreographed_and_refused"
SHARDS_AWAY = {"shard-1": None, "shard-2": None}


async def runs_of(scene: str) -> list[Run]:
    runs = [await run_of(file) for file in sorted((HISTORIES / scene).glob("*.json"))]
    return sorted(runs, key=lambda run: run.started_at)


async def run_of(file: Path) -> Run:
    history = WorkflowHistory.from_json(file.stem, file.read_text())
    run = await read_run(file.stem, file.stem, history.events, pydantic_data_converter)
    if file.stem == "place-order":
        run.workflow_id = placement_id(run.input["order"]["order_id"])
    else:
        version, _, reactor = file.stem.partition("-")
        run.workflow_id = reactor_id(Reactor(reactor), run.input["order_id"], int(version))
    return run


async def trace_of(scene: str) -> TraceDocument:
    runs = await runs_of(scene)
    return document_of(Evidence(runs[0].input["order"]["order_id"], runs, dict(SHARDS_AWAY)))


def drawn(trace: TraceDocument, width: int) -> list[str]:
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    with console.capture() as capture:
        console.print(TraceTree(trace))
    return capture.get().splitlines()


@pytest.mark.parametrize("scene", [CONFIRMED, REFUSED])
async def test_each_event_names_all_its_reactors(scene: str) -> None:
    trace = await trace_of(scene)
    assert trace.style is Style.CHOREOGRAPHED
    assert [event.version for event in trace.events] == [1, 2, 3, 4]
    for event in trace.events:
        assert [each.name for each in event.reactors] == list(REACTIONS[EventKind(event.kind)])
        assert {each.status for each in event.reactors} == {"completed"}
        assert all(each.seconds is not None for each in event.reactors)


async def test_the_steps_of_both_styles_are_called_the_same() -> None:
    trace = await trace_of(CONFIRMED)
    assert trace.decision is not None
    assert trace.decision.outcome == "confirmed"
    assert sorted({step.name for step in trace.steps}) == [
        "claim_order_id",
        "consume_stock",
        "credit_merchant",
        "decide_order",
        "hold_payment",
        "join_stock",
        "place_order",
        "reserve_stock",
    ]


async def test_a_refused_one_says_why_and_goes_back() -> None:
    trace = await trace_of(REFUSED)
    assert [event.kind for event in trace.events] == ["OrderPlaced", "StockRefused", "OrderAborting", "StockReleased"]
    assert trace.reason == "out_of_stock"
    assert {step.name for step in trace.steps if step.phase == "compensation"} == {
        "release_stock",
        "join_release",
        "abort_order",
    }


async def test_a_reactor_that_was_not_started_is_shown_by_its_name() -> None:
    runs = [run for run in await runs_of(CONFIRMED) if not run.workflow_id.startswith("ship-order")]
    trace = document_of(Evidence(runs[0].input["order"]["order_id"], runs, dict(SHARDS_AWAY)))
    ship, credit = trace.events[-1].reactors
    assert (ship.name, ship.service, ship.status) == ("ship-order", "shipping", None)
    assert credit.status == "completed"


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("scene", [CONFIRMED, REFUSED])
async def test_the_tree_keeps_inside_the_terminal_and_shows_every_event(scene: str, width: int) -> None:
    trace = await trace_of(scene)
    lines = drawn(trace, width)
    assert max(map(len, lines)) <= width
    assert sum("DECIDED" in line for line in lines) == 1
    text = " ".join(line.lstrip("│├└─ ") for line in lines)
    assert all(f"{event.kind}  version {event.version}" in text for event in trace.events)
    assert all(f"{each.service}: {each.name}" in text for event in trace.events for each in event.reactors)
    assert all(each.summary.split(":")[0] in text for each in trace.steps if each.phase != "decision")
