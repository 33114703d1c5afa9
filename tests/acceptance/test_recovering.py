"""An order whose workflow was terminated is named by `verify`, and `recover` has it carried out."""

from __future__ import annotations

from temporalio.client import Client

from tests.support.command import Shardwise

ORDER = ("order", "place", "--customer", "rich", "--line", "LAMP:2", "--id", "terminated", "--wait", "1")


async def _terminate(shardwise: Shardwise, order_id: str) -> None:
    client = await Client.connect(shardwise("status").document["temporal"]["address"])
    await client.get_workflow_handle(f"order/{order_id}").terminate("in the middle")


def _wrong(shardwise: Shardwise) -> set[str]:
    """The sagas that `verify` has something against."""
    checks = shardwise("verify").document["checks"]
    return {violation["row"]["saga_id"] for check in checks for violation in check["violations"]}


async def test_a_terminated_order_is_found_and_carried_out(shardwise: Shardwise) -> None:
    money, goods = shardwise.money("rich"), shardwise.goods("LAMP")
    assert shardwise(*ORDER, cancellation_window_seconds="600").exit_code == 3
    await _terminate(shardwise, "terminated")
    assert _wrong(shardwise) == {"order/terminated"}

    found = shardwise("recover", "--dry-run")
    assert (found.exit_code, found.document["damage"]) == (0, [])
    assert found.document["orders"] == [{"order_id": "terminated", "status": "pending", "started": False}]
    assert _wrong(shardwise) == {"order/terminated"}

    recovered = shardwise("recover").document["orders"]
    assert recovered == [{"order_id": "terminated", "status": "pending", "started": True}]
    # Placed again under its id, it is joined and waited for.
    ended = shardwise("order", "place", "--customer", "rich", "--line", "LAMP:2", "--id", "terminated")
    assert (ended.exit_code, ended.document["status"]) == (0, "confirmed")
    assert _wrong(shardwise) == set()
    assert shardwise("recover").document["orders"] == []
    assert (shardwise.goods("LAMP"), money[1]) == ((goods[0] - 2, 0), "0.00")
