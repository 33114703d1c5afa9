"""Somebody terminates the workflow of a half-done order: `verify` names the order, and `recover` has it carried out."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from temporalio.client import Client

from domain.shard_map import bucket_of, spread_buckets
from tests.support.command import Answer, Shardwise
from workflows.orders.saga import workflow_id

SECONDS_MAX = 60
SHARDS = ("shard-1", "shard-2", "shard-3")


async def _terminate(shardwise: Shardwise, order_id: str) -> None:
    client = await Client.connect(shardwise.inside("status").document["temporal"]["address"])
    await client.get_workflow_handle(workflow_id(order_id)).terminate("an operator's mistake")


def _until(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not done():
        assert time.monotonic() < deadline, what


def _violations(answer: Answer) -> dict[str, list[dict[str, object]]]:
    return {check["name"]: check["violations"] for check in answer.document["checks"] if not check["ok"]}


def _recover(shardwise: Shardwise, order_id: str, **settings: str) -> None:
    recovered = shardwise.inside("recover", **settings)
    assert [(each["order_id"], each["started"]) for each in recovered.document["orders"]] == [(order_id, True)]
    assert recovered.exit_code == 0
    _until(lambda: shardwise.inside("verify").document["in_flight"]["orders"] == 0, "the recovered order does not end")
    verified = shardwise.inside("verify")
    assert verified.exit_code == 0, json.dumps(_violations(verified))
    assert shardwise.inside("recover").document["orders"] == []


async def test_an_order_terminated_in_its_window_is_named_with_its_row(shardwise: Shardwise) -> None:
    place = ("order", "place", "--customer", "rich", "--line", "LAMP:1", "--id", "cut-off")
    placed = shardwise.inside(*place, "--wait", "1", cancellation_window_seconds="600")
    assert placed.document["status"] == "pending"
    _until(
        lambda: shardwise.inside("order", "show", "cut-off").document["placed_at"] is not None, "it was never opened"
    )
    healthy = shardwise.inside("verify")
    assert (healthy.exit_code, healthy.document["in_flight"]["orders"]) == (0, 1)

    await _terminate(shardwise, "cut-off")
    damaged = shardwise.inside("verify")
    assert damaged.exit_code == 1
    [violation] = _violations(damaged)["orders"]
    assert violation["what"] == "order cut-off is pending, and nobody works on it"
    assert violation["row"] == {
        "saga_id": "order/cut-off",
        "order_id": "cut-off",
        "customer_id": "rich",
        "state": "pending",
    }
    assert damaged.document["in_flight"]["orders"] == 0

    dry = shardwise.inside("recover", "--dry-run")
    assert (dry.exit_code, dry.document["damage"]) == (0, [])
    assert dry.document["orders"] == [{"order_id": "cut-off", "status": "pending", "started": False}]
    assert shardwise.inside("verify").exit_code == 1
    _recover(shardwise, "cut-off")
    assert shardwise.inside("order", "show", "cut-off").document["status"] == "confirmed"


async def test_an_order_that_lost_its_workflow_can_still_be_cancelled(shardwise: Shardwise) -> None:
    money, goods = shardwise.money("rich"), shardwise.goods("LAMP")
    place = ("order", "place", "--customer", "rich", "--line", "LAMP:1", "--id", "regretted-late", "--wait", "1")
    assert shardwise.inside(*place, cancellation_window_seconds="600").document["status"] == "pending"
    await _terminate(shardwise, "regretted-late")

    cancelled = shardwise.inside("order", "cancel", "regretted-late")
    assert (cancelled.exit_code, cancelled.document["status"]) == (0, "cancelled")
    assert (shardwise.money("rich"), shardwise.goods("LAMP")) == (money, goods)
    assert shardwise.inside("recover").document["orders"] == []
    assert shardwise.inside("verify").exit_code == 0


async def test_an_order_terminated_before_its_id_was_claimed_is_carried_out_still(shardwise: Shardwise) -> None:
    shardwise.kill_worker()
    try:
        shardwise.inside("order", "place", "--customer", "rich", "--line", "LAMP:1", "--id", "unclaimed", "--wait", "0")
        await _terminate(shardwise, "unclaimed")
        shown = shardwise.inside("order", "show", "unclaimed")
        assert (shown.exit_code, shown.document["status"]) == (0, "pending")
        assert shardwise.inside("order", "cancel", "unclaimed").exit_code == 3
    finally:
        assert shardwise("up", "--detach").exit_code == 0
    _recover(shardwise, "unclaimed")


@dataclass(frozen=True)
class OrderCase:
    """An order whose merchant is on a shard of its own: with that one away, the rest of the order goes on."""

    shardwise: Shardwise
    order_id: str
    customer: str
    customer_shard: str
    merchant_shard: str
    sku: str


@pytest.fixture
def case(shardwise: Shardwise, tmp_path: Path) -> OrderCase:
    merchant_shard = shardwise.inside("account", "show", "merchant.USD").document["shard"]
    goods = {sku: shardwise.inside("stock", "show", sku).document["shard"] for sku in ("APPLE", "LAMP", "WATCH")}
    sku = next(sku for sku, shard in goods.items() if shard != merchant_shard)
    buckets = spread_buckets(SHARDS)
    names = (f"without-merchant-{number}" for number in itertools.count())
    away = (name for name in names if buckets[bucket_of(name)] != merchant_shard)
    order_id, customer = next(away), next(away)
    file = tmp_path / "customers.csv"
    file.write_text(f"customer_id,name,email,currency,opening_balance\n{customer},Away,,USD,1000.00\n")
    assert shardwise.inside("import", "customers", str(file)).exit_code == 0
    return OrderCase(shardwise, order_id, customer, buckets[bucket_of(customer)], merchant_shard, sku)


async def test_money_whose_workflow_was_terminated_on_its_way_is_named_with_its_leg(case: OrderCase) -> None:
    shardwise = case.shardwise
    place = ("order", "place", "--customer", case.customer, "--line", f"{case.sku}:1", "--id", case.order_id)
    shardwise.kill_server(case.merchant_shard)
    try:
        shardwise.inside(*place, "--wait", "1")
        _until(
            lambda: shardwise.inside("order", "show", case.order_id).document["decided_at"] is not None,
            "it was never decided",
        )
        await _terminate(shardwise, case.order_id)
    finally:
        assert shardwise("up", "--detach").exit_code == 0

    damaged = shardwise.inside("verify")
    assert damaged.exit_code == 1
    [violation] = _violations(damaged)["clearing"]
    assert violation["shard"] == case.customer_shard
    assert violation["row"]["saga_id"] == f"order/{case.order_id}"  # type: ignore[index]
    assert "it never arrived and nobody works on it" in str(violation["what"])

    # The row is final, so that placing the order again would not start anything. What is decided waits for no window.
    _recover(shardwise, case.order_id, cancellation_window_seconds="600")
