"""Orders: the same request is recognized, and what is wrong with a bad one is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.content import hash_of_content
from domain.errors import InvalidInput
from domain.limits import AMOUNT_MINOR_UNITS_MAX, LINE_BYTES_MAX, ORDER_LINES_MAX, QUANTITY_MAX
from domain.money import Money
from domain.order_documents import parse_order
from domain.orders import (
    Address,
    Order,
    OrderLine,
    OrderState,
    OrderStatus,
    PricedLine,
    check_order,
    closing_state,
    merge_lines,
    quantities_by_sku,
    total_of,
)
from domain.sagas import Reason, Refusal

DOCUMENT: dict[str, Any] = {
    "order_id": "10248",
    "customer_id": "VINET",
    "currency": "USD",
    "ordered_on": "1996-07-04",
    "ship_to": {"name": "Vins et alcools", "address": None, "city": "Reims", "postal_code": "51100", "country": None},
    "lines": [{"sku": "NW-011", "quantity": 12, "unit_price": "14.00"}, {"sku": "NW-042", "quantity": 10}],
}
# Written down once. A change here means that orders already placed are refused as other content.
GOLDEN_HASH = "30cc7fe49bd5f8ca3a6fc7475ea67081"
GOLDEN_BARE_HASH = "6b04134b98f4bf9a3001d2e6fe2453fa"

skus = st.sampled_from(["A", "B", "C", "D"])
prices = st.one_of(st.none(), st.builds(Money, st.integers(0, 500), st.just("USD")))
lines = st.lists(st.builds(OrderLine, skus, st.integers(1, 50), prices), min_size=1, max_size=12)


def order(*of: OrderLine) -> Order:
    return Order("o-1", "ADA", "USD", of or (OrderLine("A", 1),))


def parsed(**changes: Any) -> Order:
    return parse_order(json.dumps({**DOCUMENT, **changes}))


def test_a_document_is_read_as_it_is_meant() -> None:
    assert parsed() == Order(
        order_id="10248",
        customer_id="VINET",
        currency="USD",
        lines=(OrderLine("NW-011", 12, Money(1400, "USD")), OrderLine("NW-042", 10)),
        ordered_on=date(1996, 7, 4),
        ship_to=Address(name="Vins et alcools", city="Reims", postal_code="51100"),
    )


def test_date_address_and_prices_may_be_left_out() -> None:
    bare = '{"order_id": "o", "customer_id": "c", "currency": "JPY", "lines": [{"sku": "s", "quantity": 1}]}'
    assert parse_order(bare.encode()) == Order("o", "c", "JPY", (OrderLine("s", 1),))
    assert parsed(ordered_on=None, ship_to=None).ship_to is None


# ── the fingerprint ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_fingerprint_of_a_request_is_the_same_for_ever() -> None:
    assert parsed().content_hash == GOLDEN_HASH
    assert order().content_hash == GOLDEN_BARE_HASH


@pytest.mark.parametrize("seed", ["0", "1"])
def test_the_fingerprint_is_the_same_in_every_process(seed: str) -> None:
    program = "import sys; from domain.order_documents import parse_order; print(parse_order(sys.argv[1]).content_hash)"
    run = subprocess.run(
        [sys.executable, "-c", program, json.dumps(DOCUMENT)],
        env={**os.environ, "PYTHONHASHSEED": seed},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == GOLDEN_HASH


def test_how_a_request_is_written_does_not_change_its_fingerprint() -> None:
    same = parse_order(
        json.dumps(
            {
                **dict(reversed(DOCUMENT.items())),
                "lines": [
                    {"quantity": 10, "sku": "NW-042", "unit_price": None},
                    {"unit_price": "14", "quantity": 7, "sku": "NW-011"},
                    {"unit_price": "14.0", "quantity": 5, "sku": "NW-011"},
                ],
            },
            indent=1,
        )
    )
    assert same.content_hash == parsed().content_hash


@pytest.mark.parametrize(
    "changes",
    [
        {"customer_id": "TOMSP"},
        {"currency": "EUR"},
        {"ordered_on": "1996-07-05"},
        {"ordered_on": None},
        {"ship_to": None},
        {"ship_to": {**DOCUMENT["ship_to"], "city": "Paris"}},
        {"ship_to": {"name": "Reims", "city": "Vins et alcools", "postal_code": "51100"}},
        {"lines": DOCUMENT["lines"][:1]},
        {"lines": [{"sku": "NW-011", "quantity": 13, "unit_price": "14.00"}, DOCUMENT["lines"][1]]},
        {"lines": [{"sku": "NW-011", "quantity": 12, "unit_price": "14.01"}, DOCUMENT["lines"][1]]},
        {"lines": [{"sku": "NW-011", "quantity": 12}, DOCUMENT["lines"][1]]},
        {"lines": [DOCUMENT["lines"][0], {"sku": "NW-042", "quantity": 10, "unit_price": "0.00"}]},
    ],
)
def test_a_different_request_has_a_different_fingerprint(changes: dict[str, Any]) -> None:
    assert parsed(**changes).content_hash != GOLDEN_HASH


@given(lines, st.randoms(use_true_random=False))
def test_the_order_of_the_lines_does_not_change_the_fingerprint(some: list[OrderLine], shuffler: Any) -> None:
    shuffled = list(some)
    shuffler.shuffle(shuffled)
    assert order(*merge_lines(some)).content_hash == order(*merge_lines(shuffled)).content_hash


def test_a_fingerprint_depends_on_where_one_value_ends_and_the_next_begins() -> None:
    assert hash_of_content(["ab", "c"]) != hash_of_content(["a", "bc"])
    assert hash_of_content(["1"]) != hash_of_content([1])
    assert hash_of_content([None]) != hash_of_content([""])


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────────


@given(lines)
def test_merging_keeps_every_unit_at_its_price(some: list[OrderLine]) -> None:
    merged = merge_lines(some)
    keys = [(line.sku, line.unit_price) for line in merged]
    assert len(keys) == len(set(keys))
    for sku, price in keys:
        wanted = sum(line.quantity for line in some if (line.sku, line.unit_price) == (sku, price))
        assert [line.quantity for line in merged if (line.sku, line.unit_price) == (sku, price)] == [wanted]
    assert quantities_by_sku(merged) == quantities_by_sku(some)
    assert merge_lines(merged) == merged


@given(lines)
def test_stock_is_locked_in_the_order_of_skus(some: list[OrderLine]) -> None:
    assert list(quantities_by_sku(some)) == sorted({line.sku for line in some})


@given(st.lists(st.builds(PricedLine, skus, st.integers(1, 50), st.builds(Money, st.integers(0, 500), st.just("USD")))))
def test_the_total_is_the_sum_of_the_lines(some: list[PricedLine]) -> None:
    assert total_of(some, "USD") == Money(sum(line.quantity * line.unit_price.minor for line in some), "USD")


def test_a_total_over_the_limit_is_a_refusal_if_the_catalogue_set_the_price() -> None:
    dear = PricedLine("A", 2, Money(AMOUNT_MINOR_UNITS_MAX, "USD"))
    refusal = total_of([dear], "USD")
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.AMOUNT_TOO_LARGE


def test_a_total_over_the_limit_is_invalid_if_the_order_set_the_price() -> None:
    limit = Money(AMOUNT_MINOR_UNITS_MAX, "USD")
    check_order(order(OrderLine("A", 1, limit)))
    with pytest.raises(InvalidInput, match="lines: expected a total"):
        check_order(order(OrderLine("A", 1, limit), OrderLine("B", 1, Money(1, "USD"))))


@pytest.mark.parametrize("count", [0, ORDER_LINES_MAX + 1])
def test_an_order_has_a_bounded_number_of_lines(count: int) -> None:
    some = tuple(OrderLine(f"S-{number}", 1) for number in range(count))
    with pytest.raises(InvalidInput, match=f"lines: expected 1 to {ORDER_LINES_MAX} lines, got {count}"):
        check_order(replace(order(), lines=some))


# ── states ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cancel_by_a_caller_is_cancelled_and_a_refusal_by_a_rule_is_rejected() -> None:
    assert closing_state(Reason.CANCELLED) is OrderState.CANCELLED
    others = set(Reason) - {Reason.CANCELLED}
    assert {closing_state(reason) for reason in others} == {OrderState.REJECTED}


def test_every_state_has_a_status_and_only_three_are_final() -> None:
    assert OrderStatus.of_state(OrderState.ABORTING) is OrderStatus.COMPENSATING
    assert {OrderStatus.of_state(state) for state in OrderState} == set(OrderStatus) - {OrderStatus.STUCK}
    assert [state for state in OrderState if state.is_final] == ["confirmed", "rejected", "cancelled"]


# ── what is wrong with a document ───────────────────────────────────────────────────────────────────────────

LINE: dict[str, Any] = {"sku": "NW-011", "quantity": 1}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order_id": ""}, "order_id"),
        ({"order_id": "a/b"}, "order_id"),
        ({"order_id": "x" * 101}, "order_id"),
        ({"order_id": 10248}, "order_id"),
        ({"order_id": None}, "order_id"),
        ({"customer_id": "Zo\u00eb"}, "customer_id"),
        ({"currency": "DOLLARS"}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"ordered_on": "04.07.1996"}, "ordered_on"),
        ({"ordered_on": "1996-02-30"}, "ordered_on"),
        ({"ordered_on": 836438400}, "ordered_on"),
        ({"ordered_on": "0"}, "ordered_on"),
        ({"ordered_on": "86400000"}, "ordered_on"),
        ({"ordered_on": "1996-07-04T00:00:00"}, "ordered_on"),
        ({"ship_to": "Reims"}, "ship_to"),
        ({"ship_to": {"town": "Reims"}}, "ship_to.town"),
        ({"ship_to": {"city": 5}}, "ship_to.city"),
        ({"ship_to": {"city": "x" * 201}}, "ship_to.city"),
        ({"ship_to": {"city": "a\u0000b"}}, "ship_to.city"),
        ({"ship_to": {"city": "a\u001b[31m"}}, "ship_to.city"),
        ({"ship_to": {"city": "a\u202eb"}}, "ship_to.city"),
        ({"ship_to": {"city": "a\u2066b"}}, "ship_to.city"),
        ({"ship_to": {"city": "a\u2028b"}}, "ship_to.city"),
        ({"lines": []}, "lines"),
        ({"lines": {}}, "lines"),
        ({"lines": None}, "lines"),
        ({"lines": ["NW-011"]}, "lines.0"),
        ({"lines": [LINE, {"sku": "NW-011"}]}, "lines.1.quantity"),
        ({"lines": [{**LINE, "sku": "NW 011"}]}, "lines.0.sku"),
        ({"lines": [{**LINE, "quantity": 0}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "quantity": -1}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "quantity": 1.5}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "quantity": 1.0}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "quantity": "1"}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "quantity": True}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "quantity": QUANTITY_MAX + 1}]}, "lines.0.quantity"),
        ({"lines": [{**LINE, "unit_price": 14.0}]}, "lines.0.unit_price"),
        ({"lines": [{**LINE, "unit_price": "14,00"}]}, "lines.0.unit_price"),
        ({"lines": [{**LINE, "unit_price": "14.001"}]}, "lines.0.unit_price"),
        ({"lines": [{**LINE, "unit_price": "-0.01"}]}, "lines.0.unit_price"),
        ({"lines": [{**LINE, "discount": "1.00"}]}, "lines.0.discount"),
        ({"lines": [{**LINE, "sku": f"S-{n}"} for n in range(ORDER_LINES_MAX + 1)]}, "lines"),
        ({"priority": 1}, "priority"),
        ({"\u001b[31mred": 1}, r"'\x1b[31mred'"),
        ({"a\u202eb": 1}, r"'a\u202eb'"),
        ({"x" * 100_000: 1}, "'" + "x" * 58 + "…"),
    ],
)
def test_a_bad_document_is_refused_with_the_field_at_fault(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parsed(**changes)
    assert refused.value.field == field
    assert refused.value.message.startswith(f"{field}: ")
    assert refused.value.message.isprintable()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("not json", "expected JSON, got 'not json' (wrong from column 2 on)"),
        ("{", "expected JSON, got '{' (it ends too early)"),
        ("[]", "expected an object, got []"),
        (json.dumps({**DOCUMENT, "order_id": 5}), "order_id: expected text in quotes, got 5"),
        (json.dumps({**DOCUMENT, "ordered_on": 5}), "ordered_on: expected a date such as '2026-01-31', got 5"),
        (
            json.dumps({**DOCUMENT, "lines": [{**LINE, "quantity": 1.5}]}),
            "lines.0.quantity: expected a whole number, got 1.5",
        ),
    ],
)
def test_a_fault_is_reported_in_our_own_words(line: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_order(line)
    assert refused.value.message == message


@pytest.mark.parametrize("field", ["order_id", "customer_id", "currency", "lines"])
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_order(json.dumps({name: value for name, value in DOCUMENT.items() if name != field}))
    assert refused.value.field == field


@pytest.mark.parametrize(
    "line", ["", "{", "null", "[]", '"x"', "1", "{}x", b"\xff\xfe", b"\x00", "{'order_id': 1}", "NaN"]
)
def test_a_line_that_is_no_document_at_all_is_refused(line: str | bytes) -> None:
    with pytest.raises(InvalidInput):
        parse_order(line)


@pytest.mark.parametrize(
    ("given", "instead", "name"),
    [
        ('"customer_id"', '"order_id": "o", "customer_id"', "order_id"),
        ('"quantity": 10', '"quantity": 10, "quantity": 10', "quantity"),
        ('"currency"', r'"curre\u006ecy": "EUR", "currency"', "currency"),
    ],
)
def test_a_field_given_twice_is_refused(given: str, instead: str, name: str) -> None:
    line = json.dumps(DOCUMENT).replace(given, instead, 1)
    with pytest.raises(InvalidInput, match=f"expected each field once, got '{name}' twice"):
        parse_order(line)


@pytest.mark.parametrize("opening", ["[", '{"order_id":', '{"lines":[{"sku":'])
def test_deep_nesting_is_a_fault_of_the_line(opening: str) -> None:
    with pytest.raises(InvalidInput, match=r"expected JSON, got .* \(nested too deeply\)"):
        parse_order(opening * (100_000 // len(opening)))


@pytest.mark.parametrize(
    "name",
    [
        "Zo\u00eb",
        "\u0645\u062d\u0645\u062f\u200f",
        "\u0645\u06cc\u200c\u062e",
        "\U0001f468\u200d\U0001f467",
        "e\u0301" * 100,
    ],
)
def test_names_of_all_scripts_are_text(name: str) -> None:
    order = parsed(ship_to={"name": name})
    assert order.ship_to is not None
    assert order.ship_to.name == name


def test_a_line_has_a_size_limit() -> None:
    with pytest.raises(InvalidInput, match="at most 1000000 bytes"):
        parse_order(" " * LINE_BYTES_MAX + "{}")


@given(st.text())
def test_any_text_is_an_order_or_invalid_never_something_else(line: str) -> None:
    with pytest.raises(InvalidInput):
        parse_order(line)
