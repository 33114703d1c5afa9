"""What a workflow may be started with, checked as the worker checks it: every type, every field broken in every way."""

from __future__ import annotations

import json
from typing import Any

import pytest
from temporalio import workflow
from temporalio.api.common.v1 import Payload

from domain.choreography import REACTIONS, Reactor, reactor_id
from domain.errors import InvalidInput
from domain.limits import AMOUNT_MINOR_UNITS_MAX, ORDER_LINES_MAX, QUANTITY_MAX
from tests.support.contract import Start, starts
from tests.support.mutations import mutations
from workers.run import HOSTED
from workers.runner.entrance import CheckedRunner
from workers.runner.sandbox import workflow_runner
from workflows.entrance.entrances import ENTRANCES, read_start

TYPES = [each for hosted in HOSTED.values() for each in hosted.workflows]
GOOD = {each.workflow_id: each for each in starts() if each.workflow_id != "order/web-1000"}
EVENT = GOOD["reserve-stock/web-1004/1"]


def payload(document: Any, encoding: str = "json/plain") -> Payload:
    return Payload(metadata={"encoding": encoding.encode()}, data=json.dumps(document).encode())


def refusal(start: Start, document: Any, workflow_id: str | None = None) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        read_start(start.workflow_type, workflow_id or start.workflow_id, [payload(document)])
    assert refused.value.code == "invalid_input"
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 1000
    return refused.value


def of_reactor(reactor: Reactor) -> Start:
    kind = next(kind for kind, reactors in REACTIONS.items() if reactor in reactors)
    document = {**EVENT.document, "kind": kind}
    return Start(reactor.workflow_type, reactor.service, reactor_id(reactor, "web-1004", 1), document)


def test_every_hosted_type_has_an_entrance_that_takes_what_it_takes() -> None:
    definitions = [workflow._Definition.must_from_class(each) for each in TYPES]
    assert {each.name for each in definitions} == ENTRANCES.keys()
    runner = workflow_runner(sandboxed=False)
    for each in definitions:
        runner.prepare_workflow(each)


@workflow.defn(name="Forgotten")
class Forgotten:
    @workflow.run
    async def run(self, request: str) -> None: ...


@workflow.defn(name="OrderSaga")
class Other:
    @workflow.run
    async def run(self, request: str) -> None: ...


@pytest.mark.parametrize("sandboxed", [False, True])
@pytest.mark.parametrize("kind", [Forgotten, Other])
def test_a_type_without_an_entrance_of_its_own_is_not_hosted(kind: type, sandboxed: bool) -> None:
    runner = workflow_runner(sandboxed)
    assert isinstance(runner, CheckedRunner)
    with pytest.raises(TypeError, match="entrance"):
        runner.prepare_workflow(workflow._Definition.must_from_class(kind))


@pytest.mark.parametrize("start", GOOD.values(), ids=GOOD)
def test_every_start_that_the_contract_shows_is_accepted(start: Start) -> None:
    assert read_start(start.workflow_type, start.workflow_id, [payload(start.document)]) is not None


@pytest.mark.parametrize("start", GOOD.values(), ids=GOOD)
def test_no_mutation_of_one_is_accepted(start: Start) -> None:
    request = ENTRANCES[start.workflow_type].request
    broken = list(mutations(request, start.document))
    assert len(broken) >= 20
    for _, document in broken:
        refusal(start, document)


@pytest.mark.parametrize("reactor", Reactor)
def test_a_reactor_takes_the_events_that_it_reacts_to_and_no_others(reactor: Reactor) -> None:
    start = of_reactor(reactor)
    for kind, reactors in REACTIONS.items():
        document = {**start.document, "kind": kind}
        if reactor in reactors:
            assert read_start(start.workflow_type, start.workflow_id, [payload(document)]).kind == kind
        else:
            assert refusal(start, document).field == "kind"


@pytest.mark.parametrize("start", [*GOOD.values(), *map(of_reactor, Reactor)], ids=lambda start: start.workflow_id)
@pytest.mark.parametrize("other", ["{}-other", "other-{}", "order/other", "", "transfer/ada/other"])
def test_id_and_input_have_to_agree(start: Start, other: str) -> None:
    assert refusal(start, start.document, other.format(start.workflow_id) or "-").field == "workflow_id"


def test_a_sweep_takes_nothing_under_the_ids_that_its_schedule_gives() -> None:
    for workflow_id in ("in-doubt-recovery", "in-doubt-recovery-2026-01-31T00:00:00Z"):
        assert read_start("InDoubtRecovery", workflow_id, []) is None
        with pytest.raises(InvalidInput, match="expected no argument, got 1"):
            read_start("InDoubtRecovery", workflow_id, [payload(None)])
    with pytest.raises(InvalidInput, match="workflow_id"):
        read_start("InDoubtRecovery", "in-doubt", [])


ORDER = GOOD["order/web-1001"].document["order"]
TRANSFER = GOOD["transfer/ada/rent-1"].document["transfer"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lines": []}, f"order.lines: expected 1 to {ORDER_LINES_MAX} lines, got 0"),
        ({"lines": [{"sku": f"S-{n}", "quantity": 1} for n in range(ORDER_LINES_MAX + 1)]}, "lines, got 1001"),
        ({"lines": [{"sku": "S", "quantity": 0}]}, "order.lines.0.quantity: expected a whole number from 1 to"),
        ({"lines": [{"sku": "S", "quantity": QUANTITY_MAX + 1}]}, "order.lines.0.quantity: expected a whole number"),
        ({"lines": [{"sku": "S", "quantity": QUANTITY_MAX}] * 2}, "order.lines: expected at most 1000000 of S"),
        ({"lines": [{"sku": "S", "quantity": 1, "unit_price": "1.00 EUR"}]}, "a price in the order's currency USD"),
        ({"lines": [{"sku": "S", "quantity": 2, "unit_price": f"{AMOUNT_MINOR_UNITS_MAX // 100}.00 USD"}]}, "a total"),
        ({"currency": "XXX"}, "order.currency: expected an ISO 4217 code"),
        ({"ship_to": {"city": "x" * 201}}, "order.ship_to.city: expected 0 to 200 characters, got 201"),
        ({"style": "choreographed"}, "order.style: expected orchestrated for this workflow type"),
    ],
)
def test_the_rules_of_an_order_hold_for_every_client(changes: dict[str, Any], message: str) -> None:
    start = GOOD["order/web-1001"]
    assert message in refusal(start, {"order": {**ORDER, **changes}}).message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"amount": "0.00 USD"}, "transfer.amount: expected more than zero, got 0.00"),
        ({"amount": "-5.00 USD"}, "transfer.amount: expected more than zero, got -5.00"),
        ({"amount": "10000000000000.01 USD"}, "transfer.amount: expected at most 1000000000000000 minor units"),
        ({"target": "ada"}, "transfer.target: expected another account than the source ada"),
        ({"reference": ""}, "transfer.reference: expected 1 to 200 characters, got 0"),
    ],
)
def test_the_rules_of_a_transfer_hold_for_every_client(changes: dict[str, Any], message: str) -> None:
    start = GOOD["transfer/ada/rent-1"]
    assert message in refusal(start, {"transfer": {**TRANSFER, **changes}}).message


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity"])
def test_a_value_that_is_no_number_is_no_time(text: str) -> None:
    start = GOOD["order/web-1001"]
    written = json.dumps({"order": ORDER, "cancellation_window_seconds": "here"}).replace('"here"', text)
    with pytest.raises(InvalidInput, match="cancellation_window_seconds: "):
        read_start(
            start.workflow_type,
            start.workflow_id,
            [Payload(metadata={"encoding": b"json/plain"}, data=written.encode())],
        )


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"order": {**ORDER, "discount": "1"}}, "order.discount: there is no such field"),
        ({"order": ORDER, "surprise": 1}, "surprise: there is no such field"),
        ({"order": {name: value for name, value in ORDER.items() if name != "lines"}}, "order.lines: this field is"),
        ({}, "order: this field is required"),
    ],
)
def test_messages_call_fields_fields(document: dict[str, Any], message: str) -> None:
    shown = refusal(GOOD["order/web-1001"], document).message
    assert message in shown
    assert "argument" not in shown
