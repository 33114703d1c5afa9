"""What a user of the command line sees of orders."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Shardwise

ORDERS = Path(__file__).parent.parent / "data" / "orders.jsonl"

COUNTS = {
    "total": 8,
    "confirmed": 3,
    "rejected": 5,
    "cancelled": 0,
    "pending": 0,
    "failed": 0,
    "invalid": 0,
    "by_reason": {
        "out_of_stock": 1,
        "insufficient_funds": 1,
        "unknown_sku": 1,
        "unknown_customer": 1,
        "currency_mismatch": 1,
    },
}


def _counts(document: dict[str, object]) -> dict[str, object]:
    return {name: document[name] for name in COUNTS}


ACCOUNTS = ("rich", "poor", "merchant.USD", "merchant.EUR")
GOODS = ("CHAIR", "BREAD")


@dataclass(frozen=True)
class Levels:
    """Balances by account and units on hand by SKU. Nothing is held or reserved between commands."""

    balances: dict[str, Decimal]
    on_hand: dict[str, int]

    @staticmethod
    def read(shardwise: Shardwise) -> Levels:
        money = {account: shardwise.money(account) for account in ACCOUNTS}
        goods = {sku: shardwise.goods(sku) for sku in GOODS}
        assert {held for _, held in money.values()} == {"0.00"}
        assert {reserved for _, reserved in goods.values()} == {0}
        return Levels({a: Decimal(balance) for a, (balance, _) in money.items()}, {s: n for s, (n, _) in goods.items()})


@pytest.fixture(scope="module")
def before(shardwise: Shardwise) -> Levels:
    """The stack is the whole session's: other tests have ordered on it too."""
    return Levels.read(shardwise)


@pytest.fixture(scope="module")
def imported(shardwise: Shardwise, before: Levels) -> Shardwise:
    answer = shardwise.inside("import", "orders", str(ORDERS))
    assert answer.exit_code == 0, answer.stderr
    assert _counts(answer.document) == COUNTS
    assert answer.document["unchanged"] == 0
    return shardwise


def _state(shardwise: Shardwise) -> list[object]:
    return [*map(shardwise.goods, ("APPLE", "CHAIR")), *map(shardwise.money, ("rich", "merchant.USD"))]


def test_every_order_of_the_file_ends_with_its_reason(imported: Shardwise) -> None:
    refused = imported.inside("order", "show", "T-out-of-stock").document
    assert (refused["status"], refused["reason"]) == ("rejected", "out_of_stock")
    assert "CHAIR" in refused["detail"]
    assert refused["customer_shard"].startswith("shard-")
    assert imported.inside("order", "show", "T-no-such-customer").document["reason"] == "unknown_customer"


def test_confirmed_orders_moved_exactly_their_money_and_stock(imported: Shardwise, before: Levels) -> None:
    after = Levels.read(imported)
    moved = {account: after.balances[account] - before.balances[account] for account in ACCOUNTS}
    paid, euros = Decimal("250.50"), Decimal("90.00")
    assert moved == {"rich": -paid, "poor": 0, "merchant.USD": paid, "merchant.EUR": euros}
    assert {sku: after.on_hand[sku] - before.on_hand[sku] for sku in GOODS} == {"CHAIR": 0, "BREAD": -3}
    assert imported.inside("verify").document["ok"] is True


def test_the_same_file_again_changes_nothing(imported: Shardwise) -> None:
    before = _state(imported)
    again = imported.inside("import", "orders", str(ORDERS))
    assert again.exit_code == 0
    assert _counts(again.document) == COUNTS
    assert again.document["unchanged"] == again.document["total"] - again.document["repeated"]
    assert _state(imported) == before


def test_the_same_order_again_answers_the_first_one_s_result(shardwise: Shardwise) -> None:
    place = ("order", "place", "--customer", "rich", "--line", "APPLE:1", "--id", "twice")
    first, second = shardwise.inside(*place), shardwise.inside(*place)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.document == second.document
    other = shardwise.inside("order", "place", "--customer", "rich", "--line", "APPLE:2", "--id", "twice")
    assert (other.exit_code, other.document["error"]["code"]) == (1, "id_conflict")


def test_an_order_is_cancelled_inside_its_window_and_everything_is_given_back(shardwise: Shardwise) -> None:
    money, goods = shardwise.money("rich"), shardwise.goods("LAMP")
    place = ("order", "place", "--customer", "rich", "--line", "LAMP:2", "--id", "regretted", "--wait", "1")
    placed = shardwise.inside(*place, cancellation_window_seconds="600")
    assert (placed.exit_code, placed.document["status"]) == (3, "pending")

    def in_its_window(shown: dict[str, Any]) -> bool:
        return (shown["waits_for"] or "").startswith("the end of its cancellation window, 20")

    assert shardwise.once(in_its_window, "order", "show", "regretted")["status"] == "pending"
    cancelled = shardwise.inside("order", "cancel", "regretted")
    assert cancelled.document["waits_for"] is None
    assert (cancelled.exit_code, cancelled.document["status"]) == (0, "cancelled")
    assert shardwise.inside("order", "cancel", "regretted").exit_code == 0
    assert (
        shardwise.inside("order", "place", "--customer", "rich", "--line", "LAMP:2", "--id", "regretted").exit_code == 1
    )
    assert (shardwise.money("rich"), shardwise.goods("LAMP")) == (money, goods)


def test_a_confirmed_order_cannot_be_cancelled(imported: Shardwise) -> None:
    answer = imported.inside("order", "cancel", "T-confirmed")
    assert (answer.exit_code, answer.document["status"]) == (1, "confirmed")


def test_lists_are_by_status(imported: Shardwise) -> None:
    def all_there(listed: dict[str, Any]) -> bool:
        return {"T-out-of-stock", "T-no-money"} <= {order["order_id"] for order in listed["orders"]}

    listed = imported.once(all_there, "order", "list", "--status", "rejected", "--limit", "100")
    assert {order["status"] for order in listed["orders"]} == {"rejected"}


def test_an_order_is_shown_by_every_query(shardwise: Shardwise) -> None:
    opening = ("account", "open", "asked", "--currency", "USD", "--balance", "10.00", "--name", "Asked")
    assert shardwise.inside(*opening).exit_code == 0
    place = ("order", "place", "--customer", "asked", "--line", "APPLE:2@0.50", "--id", "asked-1")
    placed = shardwise.inside(*place).document
    assert placed["status"] == "confirmed"

    ours = shardwise.once(lambda found: placed in found["orders"], "order", "list", "--customer", "asked")
    assert (ours["orders"], ours["next"]) == ([placed], None)
    details = shardwise.once(lambda found: found["status"] == "confirmed", "order", "details", "asked-1")
    assert details["customer"] == {"customer_id": "asked", "name": "Asked", "email": None}
    assert [(each["sku"], each["amount"]) for each in details["items"]] == [("APPLE", "1.00")]
    statement = shardwise.once(lambda found: len(found["movements"]) == 2, "account", "statement", "asked")
    assert statement["balance"] == shardwise.money("asked")[0] == "9.00"

    def as_the_shard_has_it(listed: dict[str, Any]) -> bool:
        levels = {each["sku"]: (each["on_hand"], each["reserved"]) for each in listed["stock"]}
        return levels.get("APPLE") == shardwise.goods("APPLE")

    shardwise.once(as_the_shard_has_it, "stock", "list", "--limit", "1000")
    report = ("report", "sales", "--sku", "APPLE", "--from", details["day"], "--to", details["day"])
    [apples] = shardwise.once(lambda found: bool(found["sales"]), *report)["sales"]
    assert apples["units"] >= 2


def test_goods_received_count_once_by_their_id(shardwise: Shardwise) -> None:
    on_hand, _ = shardwise.goods("TABLE")
    receive = ("stock", "receive", "TABLE", "4", "--id", "delivery-1")
    assert [shardwise.inside(*receive).document["on_hand"] for _ in range(2)] == [on_hand + 4] * 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "field"),
    [
        (("order", "show", "unheard-of"), 1, None),
        (("account", "show", "unheard-of"), 1, None),
        (("stock", "show", "unheard-of"), 1, "sku"),
        (("order", "place", "--customer", "rich", "--line", "APPLE"), 2, "line"),
        (("order", "place", "--customer", "rich", "--line", "APPLE:0"), 2, "line"),
        (("order", "place", "--customer", "a/b", "--line", "APPLE:1"), 2, "customer"),
        (("order", "place"), 2, None),
        (("order", "place", "--customer", "rich", "--line", "APPLE:1", "--style", "danced"), 2, None),
        (("no-such-command",), 2, None),
        (("import", "orders", "no-such-file.jsonl"), 2, None),
    ],
)
def test_an_error_is_reported_in_one_document(
    shardwise: Shardwise, arguments: tuple[str, ...], exit_code: int, field: str | None
) -> None:
    answer = shardwise.inside(*arguments)
    assert answer.exit_code == exit_code, answer
    error = answer.document["error"]
    assert error["message"]
    assert field is None or field in (error["field"] or "")


def test_bad_lines_are_counted_and_reported_and_the_good_ones_run(shardwise: Shardwise, tmp_path: Path) -> None:
    file = tmp_path / "mixed.jsonl"
    good = ORDERS.read_text().splitlines()[0].replace("T-confirmed", "T-good-among-bad")
    file.write_text("\n".join([good, '{"order_id": "x"}', "not json", good.replace('"quantity": 3', '"quantity": -3')]))
    answer = shardwise.inside("import", "orders", str(file))
    assert answer.exit_code == 2
    assert (answer.document["confirmed"], answer.document["invalid"]) == (1, 3)
    assert "line 2" in answer.stderr
    assert "quantity" in answer.stderr
