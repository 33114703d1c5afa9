"""Choreographed orders on a whole stack: the product's own relays and services carry them on, also after deaths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Shardwise
from tests.support.order_files import write_orders

ORDERS = 30
CHOREOGRAPHED = ("--style", "choreographed")


def place(shardwise: Shardwise, order_id: str, *lines: str, customer: str = "rich") -> dict[str, Any]:
    wanted = [part for line in lines for part in ("--line", line)]
    answer = shardwise.inside("order", "place", "--customer", customer, *wanted, "--id", order_id, *CHOREOGRAPHED)
    return {**answer.document, "exit_code": answer.exit_code}


def test_a_choreographed_order_is_confirmed_paid_and_shipped(shardwise: Shardwise) -> None:
    before, (apples, _) = shardwise.money("rich")[0], shardwise.goods("APPLE")
    placed = place(shardwise, "led-by-nobody", "APPLE:2", "WATCH:1@1.00")
    assert (placed["exit_code"], placed["status"], placed["style"]) == (0, "confirmed", "choreographed")
    assert float(before) - float(shardwise.money("rich")[0]) == pytest.approx(3.0)
    # The row is final before the goods have left.
    shardwise.once(lambda level: (level["on_hand"], level["reserved"]) == (apples - 2, 0), "stock", "show", "APPLE")
    traced = shardwise.inside("order", "trace", "led-by-nobody").document
    assert [event["kind"] for event in traced["events"]] == [
        "OrderPlaced",
        "StockReserved",
        "PaymentHeld",
        "OrderConfirmed",
    ]


def test_a_refused_one_gives_everything_back(shardwise: Shardwise) -> None:
    before, stock = shardwise.money("rich"), shardwise.goods("APPLE")
    placed = place(shardwise, "refused-by-stock", "APPLE:2", "CHAIR:900@0.01")
    assert (placed["exit_code"], placed["status"], placed["reason"]) == (1, "rejected", "out_of_stock")
    poor = place(shardwise, "refused-by-payment", "LAMP:900", customer="poor")
    assert (poor["exit_code"], poor["status"], poor["reason"]) == (1, "rejected", "insufficient_funds")
    assert (shardwise.money("rich"), shardwise.goods("APPLE")) == (before, stock)


def test_the_style_that_came_first_stays(shardwise: Shardwise) -> None:
    assert place(shardwise, "twice", "APPLE:1")["status"] == "confirmed"
    again = shardwise.inside("order", "place", "--customer", "rich", "--line", "APPLE:1", "--id", "twice")
    assert (again.exit_code, again.document["style"]) == (0, "choreographed")


def test_a_file_of_them_survives_the_deaths_of_its_worker_and_of_a_shard(shardwise: Shardwise, tmp_path: Path) -> None:
    file = write_orders(tmp_path / "choreographed.jsonl", "C", ORDERS)
    with shardwise.begin("import", "orders", str(file), *CHOREOGRAPHED, "--stuck-after", "140") as importing:
        shardwise.once(lambda listed: count(listed) > 3, "order", "list", "--status", "confirmed", "--limit", "1000")
        shardwise.kill_worker()
        shardwise.kill_server("shard-2")
        assert shardwise("up", "--detach").exit_code == 0
        during = shardwise.inside("verify")
        assert during.document["ok"], during.stdout
        stdout, stderr = importing.communicate(timeout=140)
    counts = json.loads(stdout)
    assert importing.returncode == 0, stderr
    assert counts["confirmed"] + counts["rejected"] == counts["total"] == ORDERS
    # Final by their rows; reactors run on behind that.
    after = shardwise.once(lambda found: found["in_flight"]["orders"] == 0, "verify")
    assert after["ok"]


def count(listed: dict[str, Any]) -> int:
    return sum(order["order_id"].startswith("C-") for order in listed["orders"])
