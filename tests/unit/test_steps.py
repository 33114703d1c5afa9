"""Each step is declared once, and all that names steps reads that: ids, barrier rows, workflows, ARCHITECTURE.md."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from domain.choreography import REACTIONS, EventKind, Service, placing_steps
from domain.orders import Style
from domain.step_ids import NamedStep, carried_in, parse_activity_id, step_of_barrier, without_round
from domain.steps import RECORDS, Parts, Phase, Step
from tests.support.places import assert_says_all
from workflows.orders import choreography
from workflows.orders import placement as order_placement
from workflows.orders import saga as order_saga
from workflows.transfers import saga as transfer_saga
from workflows.transfers import transfer, two_phase

ARCHITECTURE = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
# Barrier rows and holds are found by these names for as long as there are sagas: a renamed step would happen again.
BARRIER_NAMES = {
    Step.OPEN_ORDER: "open_order",
    Step.PLACE_ORDER: "open_order",
    Step.RESERVE_STOCK: "reserve_stock/m",
    Step.RELEASE_STOCK: "reserve_stock/m",
    Step.CONSUME_STOCK: "consume_stock/m",
    Step.CREDIT_MERCHANT: "credit_merchant",
    Step.JOIN_STOCK: "join_stock",
    Step.HOLD_PAYMENT: "hold_payment",
    Step.JOIN_RELEASE: "join_release",
    Step.ABORT_ORDER: "open_order",
    Step.OPEN_TRANSFER: "open_transfer",
}


def part_of(step: Step) -> str | None:
    return None if step.declared.parts is None else "m"


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("round_", [1, 2, 12])
def test_an_activity_s_id_is_read_back_as_its_step(step: Step, round_: int) -> None:
    activity_id = step.activity_id(part_of(step), round_)
    assert parse_activity_id(activity_id) == NamedStep(step, part_of(step))
    assert without_round(activity_id) == step.activity_id(part_of(step))


@pytest.mark.parametrize("sku_range", ["", "undo", "m.1_x-2"])
def test_a_range_may_have_any_name_that_a_sku_may_have(sku_range: str) -> None:
    """The first range has no lower bound."""
    stock = (Step.RESERVE_STOCK, Step.RELEASE_STOCK, Step.CONSUME_STOCK)
    assert [parse_activity_id(step.activity_id(sku_range)) for step in stock] == [
        NamedStep(step, sku_range) for step in stock
    ]
    assert len({step.activity_id(sku_range) for step in stock}) == 3


def test_ids_are_distinct_and_a_compensation_is_called_by_what_it_undoes() -> None:
    assert len({step.activity_id(part_of(step)) for step in Step}) == len(Step)
    assert Step.RELEASE_STOCK.activity_id("m") == "reserve_stock/m/undo"
    assert Step.ABORT_ORDER.activity_id() == "open_order/undo"
    assert Step.ABORT_PARTICIPANT.activity_id("source", 2) == "prepare_participant/source/undo#2"


@pytest.mark.parametrize("other", ["7", "", "order_pizza", "reserve_stock", "open_order/m", "claim_order_id/undo"])
def test_an_id_that_is_no_step_s_is_read_as_none(other: str) -> None:
    assert parse_activity_id(other) is None


def test_a_part_that_is_missing_or_too_much_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="reserve_stock has a range"):
        Step.RESERVE_STOCK.activity_id()
    with pytest.raises(ValueError, match="open_order has no part"):
        Step.OPEN_ORDER.activity_id("m")


def test_barrier_rows_keep_their_names() -> None:
    assert {step: step.barrier_step(part_of(step)) for step in BARRIER_NAMES} == BARRIER_NAMES
    assert RECORDS == ("hold_payment", "join_release", "join_stock")


@pytest.mark.parametrize("style", Style)
def test_a_barrier_row_names_the_step_of_a_style_that_wrote_it(style: Style) -> None:
    opening = Step.OPEN_ORDER if style is Style.ORCHESTRATED else Step.PLACE_ORDER
    assert step_of_barrier("open_order", style) == NamedStep(opening)
    assert step_of_barrier("reserve_stock/", style) == NamedStep(Step.RESERVE_STOCK, "")
    assert step_of_barrier("order_pizza", style) is None


@pytest.mark.parametrize("step", Step)
def test_what_undoes_a_step_is_a_compensation_of_the_same_parts(step: Step) -> None:
    undo = step.undone_by
    if undo is not None:
        assert undo.phase is Phase.COMPENSATION
        assert undo.undoes is not None
        assert step.declared.has_effect
        # A step on the order's row is undone as a whole, so its undo has the same parts.
        assert undo.declared.parts is step.declared.parts
    if step.phase is Phase.DECISION or step.phase is Phase.COMPLETION:
        assert undo is None


@pytest.mark.parametrize("step", Step)
def test_a_step_is_described_in_a_whole_sentence_whatever_is_known(step: Step) -> None:
    known = step.summary(**dict.fromkeys(step.facts, "5 of it"))
    assert ("5 of it" in known) is bool(step.facts)
    for sentence in (known, step.summary()):
        assert re.fullmatch(r"[a-z][a-z0-9' ]+", sentence), sentence
    assert step.summary("so it is").endswith(": so it is")


def test_an_answer_lists_only_steps() -> None:
    listed = carried_in({"steps": [{"activity_id": "open_order", "answer": {"refusal": None}}]})
    assert [(each.activity_id, each.answer) for each in listed] == [("open_order", {"refusal": None})]
    assert list(carried_in({"refusal": None})) == list(carried_in(None)) == []


# ── who walks them ──────────────────────────────────────────────────────────────────────────────────────────


def called_in(source: str) -> set[str]:
    return {str(step) for step in Step if re.search(rf"Activities\.{step}\b", source)}


def of_orders(style: Style) -> set[str]:
    return {step for step in Step if step.is_of_orders and step.is_of(style)}


def test_every_step_of_a_style_is_called_by_its_workflows_and_no_other_is() -> None:
    saga = inspect.getsource(order_saga.OrderSaga)
    shared = inspect.getsource(order_saga).replace(saga, "")
    reactors = inspect.getsource(order_placement) + inspect.getsource(choreography)
    transfers = "".join(map(inspect.getsource, (transfer, transfer_saga, two_phase)))
    assert_says_all("workflows/orders/saga.py", of_orders(Style.ORCHESTRATED), called_in(saga + shared))
    others = "workflows/orders/placement.py or order_choreography.py"
    assert_says_all(others, of_orders(Style.CHOREOGRAPHED), called_in(reactors + shared))
    assert_says_all("workflows/transfer*.py", {x for x in Step if not x.is_of_orders}, called_in(transfers))


# ── ARCHITECTURE.md ─────────────────────────────────────────────────────────────────────────────────────────


def table_under(heading: str) -> list[list[str]]:
    section = ARCHITECTURE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def named_in(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def undoing(step: Step) -> str:
    if step.undone_by is not None:
        return f"`{step.undone_by}`"
    if not step.declared.has_effect:
        return ""
    return {Phase.DECISION: "never: the pivot", Phase.COMPLETION: "forward only"}.get(step.phase, "never")


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("An order, step by step", {step for step in Step if step.is_of_orders and step.is_of(Style.ORCHESTRATED)}),
        ("A transfer, step by step", {step for step in Step if not step.is_of_orders}),
    ],
)
def test_the_table_of_a_saga_has_each_of_its_steps_with_its_shard_and_what_undoes_it(
    heading: str, expected: set[Step]
) -> None:
    rows = table_under(heading)
    steps = [step for step in Step if step in expected and step.phase is not Phase.COMPENSATION]
    assert_says_all(f"ARCHITECTURE.md, {heading!r},", steps, [name for row in rows for name in named_in(row[0])])
    assert [named_in(row[0]) for row in rows] == [[step] for step in steps]
    for name, shard, _, undone_by in rows:
        [step] = map(Step, named_in(name))
        assert shard.startswith(step.declared.shard), name
        assert undone_by.startswith(undoing(step)), name
        assert bool(undone_by) is bool(undoing(step)), name


def test_the_table_of_the_services_says_which_reactor_takes_what_event_by_which_steps() -> None:
    placing, *rows = table_under("The same order without a coordinator")
    assert placing[0] == Service.ORDERS
    forward = [step for step in placing_steps() if step.phase is Phase.FORWARD]
    assert_says_all("ARCHITECTURE.md, the row of the caller,", forward, named_in(placing[2]))
    reacted_to: list[str] = []
    for services, events, steps, publishes in rows:
        reacted_to += named_in(events)
        for event in named_in(events):
            reactors = REACTIONS[EventKind(event)]
            assert sorted({reactor.service for reactor in reactors}) == sorted(services.split(", ")), events
            assert [step for reactor in reactors for step in reactor.steps] == named_in(steps), events
            published = {event for reactor in reactors for event in reactor.publishes}
            # The reactor that decides publishes one of two, each of which has a row of its own.
            assert set(named_in(publishes)) <= published, events
    assert sorted(reacted_to) == sorted(event for event, reactors in REACTIONS.items() if reactors)
    everything = {event for row in (placing, *rows) for event in named_in(row[3])}
    assert_says_all("ARCHITECTURE.md, 'The same order without a coordinator',", EventKind, everything)


def test_a_step_that_a_saga_has_several_of_is_named_by_its_part() -> None:
    parted = {step.declared.parts for step in Step}
    assert parted == {None, *Parts}
