"""Starts that no rule allows, by somebody's own client: every command reports them, and nothing is damaged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError

from stack.embedded.waiting import attempts
from tests.support.command import Answer, Shardwise

SECONDS_MAX = 30


async def plain_client(shardwise: Shardwise) -> Client:
    return await Client.connect(shardwise.inside("status").document["temporal"]["address"])


async def started(client: Client, workflow_type: str, queue: str, workflow_id: str, *arguments: Any) -> None:
    handle = await client.start_workflow(workflow_type, args=list(arguments), id=workflow_id, task_queue=queue)
    with pytest.raises(WorkflowFailureError):
        await handle.result()


async def until(holds: Callable[[], bool]) -> None:
    async for _ in attempts(SECONDS_MAX):
        if holds():
            return
    raise AssertionError("it does not come to that")


def order(order_id: str, **changes: Any) -> dict[str, Any]:
    lines = [{"sku": "LAMP", "quantity": 1}]
    return {"order": {"order_id": order_id, "customer_id": "rich", "currency": "USD", "lines": lines, **changes}}


def refusal(answer: Answer) -> dict[str, Any]:
    assert answer.exit_code == 1, answer
    error: dict[str, Any] = answer.document["error"]
    assert error["code"] == "invalid_input"
    return error


def refused_by_recover(shardwise: Shardwise, *options: str) -> dict[str, str]:
    """By workflow id, the message of what is wrong with it."""
    recovered = shardwise.inside("recover", *options)
    assert recovered.exit_code == 0, recovered
    assert recovered.document["damage"] == []
    return {each["workflow_id"]: each["message"] for each in recovered.document["refused"]}


async def test_bad_orders_are_reported_by_every_command_and_can_be_placed_rightly(shardwise: Shardwise) -> None:
    client = await plain_client(shardwise)
    bad: dict[str, tuple[str, str, tuple[Any, ...]]] = {
        "empty": ("order/empty", "order.lines: expected 1 to 1000 lines, got 0", (order("empty", lines=[]),)),
        "with-nothing": ("order/with-nothing", "expected one argument, got 0", ()),
        "null": ("order/null", "expected the encoding json/plain, got 'binary/null'", (None,)),
        "two": ("order/two", "expected one argument, got 2", (order("two"), order("two"))),
        "mine": (
            "order/mine",
            "workflow_id: expected 'order/yours', which the input names, got 'order/mine'",
            (order("yours"),),
        ),
    }
    for workflow_id, _, arguments in bad.values():
        await started(client, "OrderSaga", "orders", workflow_id, *arguments)
    await started(client, "PlaceChoreographedOrder", "orders", "order-placement/apart", order("apart"))

    for order_id, (_, why, _) in bad.items():
        for command in ("show", "cancel", "retry", "trace"):
            error = refusal(shardwise.inside("order", command, order_id))
            assert error["message"] == f"order {order_id} cannot be carried out as it was started: {why}"
    apart = "order.style: expected choreographed for this workflow type, got orchestrated"
    for command in ("show", "trace"):
        assert apart in refusal(shardwise.inside("order", command, "apart"))["message"]
    assert shardwise.inside("order", "show", "yours").document["error"]["code"] == "unknown_order"
    expected = {workflow_id: why for workflow_id, why, _ in bad.values()} | {"order-placement/apart": apart}
    await until(lambda: expected.items() <= refused_by_recover(shardwise, "--dry-run").items())
    assert shardwise.inside("watch", "--once", "--interval", "0.2").document["refused"] >= len(expected)
    assert shardwise.inside("verify").exit_code == 0

    placed = shardwise.inside("order", "place", "--customer", "rich", "--line", "LAMP:1", "--id", "empty")
    assert (placed.exit_code, placed.document["status"]) == (0, "confirmed")
    assert "order/empty" not in refused_by_recover(shardwise, "--dry-run")
    assert shardwise.inside("verify").exit_code == 0


async def test_bad_transfers_are_reported(shardwise: Shardwise) -> None:
    client = await plain_client(shardwise)
    transfer = {"transfer_id": "less", "source": "rich", "target": "poor", "amount": "-5.00 USD"}
    await started(client, "TransferWorkflow", "transfers", "transfer/rich/less", {"transfer": transfer})
    itself = {"transfer": {**transfer, "transfer_id": "itself", "target": "rich", "amount": "5.00 USD"}}
    await started(client, "TransferWorkflow", "transfers", "transfer/rich/itself", itself)

    what = "cannot be carried out as it was started: transfer"
    error = refusal(shardwise.inside("transfer", "show", "rich", "less"))
    assert error["message"] == f"transfer less of account rich {what}.amount: expected more than zero, got -5.00"
    assert error["field"] == "transfer.amount"
    error = refusal(shardwise.inside("transfer", "show", "rich", "itself"))
    assert error["message"].endswith(f"{what}.target: expected another account than the source rich")
    assert {"transfer/rich/less", "transfer/rich/itself"} <= refused_by_recover(shardwise).keys()
    assert shardwise.inside("verify").exit_code == 0


async def test_a_bad_start_terminated_before_a_worker_saw_it_is_refused_by_recover(shardwise: Shardwise) -> None:
    client = await plain_client(shardwise)
    shardwise.kill_worker()
    try:
        bad = {
            "order/unseen": ("OrderSaga", "orders", {"nobody": "reads this"}),
            "transfer/rich/unseen/at/all": ("TransferWorkflow", "transfers", None),
        }
        for workflow_id, (workflow_type, queue, argument) in bad.items():
            handle = await client.start_workflow(workflow_type, argument, id=workflow_id, task_queue=queue)
            if workflow_id == "order/unseen":
                refusal(shardwise.inside("order", "show", "unseen"))
            await handle.terminate("by an operator")
        refusal(shardwise.inside("order", "cancel", "unseen"))
        assert bad.keys() <= refused_by_recover(shardwise, "--dry-run").keys()
        assert bad.keys() <= refused_by_recover(shardwise).keys()
    finally:
        assert shardwise("up", "--detach").exit_code == 0
    for workflow_id in bad:
        with pytest.raises(WorkflowFailureError) as failed:
            await client.get_workflow_handle(workflow_id).result()
        assert getattr(failed.value.cause, "type", None) == "invalid_input"
    await until(lambda: shardwise.inside("verify").exit_code == 0)


@pytest.mark.parametrize(
    ("workflow_type", "queue", "style"),
    [
        ("OrderSaga", "order", "orchestrated"),
        ("OrderSagas", "nowhere", "orchestrated"),
        ("PlaceChoreographedOrder", "order-placement", "choreographed"),
    ],
)
async def test_another_workflow_under_an_orders_id_is_reported(
    shardwise: Shardwise, workflow_type: str, queue: str, style: str
) -> None:
    client, order_id = await plain_client(shardwise), f"held-{workflow_type}"
    workflow_id = f"{'order-placement' if style == 'choreographed' else 'order'}/{order_id}"
    handle = await client.start_workflow(workflow_type, order(order_id, style=style), id=workflow_id, task_queue=queue)
    place = ("order", "place", "--customer", "rich", "--line", "LAMP:1", "--id", order_id, "--style", style)

    def is_reported_by_recover() -> bool:
        recovered = shardwise.inside("recover", "--dry-run")
        return recovered.exit_code == 1 and what in [each["what"] for each in recovered.document["damage"]]

    what = (
        f"another workflow holds the id {workflow_id}: {workflow_type} on queue {queue}; nothing else "
        f"can run under that id until it has ended: `temporal workflow terminate --workflow-id {workflow_id}`"
    )
    for command in (("order", "show", order_id), (*place, "--wait", "1")):
        answer = shardwise.inside(*command)
        assert (answer.exit_code, answer.document["error"]["code"]) == (1, "id_held"), answer
        assert answer.document["error"]["message"] == what
    await until(is_reported_by_recover)
    watched = shardwise.inside("watch", "--once", "--interval", "0.2")
    assert (watched.exit_code, watched.document["others"]) == (1, 1)

    await handle.terminate()
    placed = shardwise.inside(*place)
    assert (placed.exit_code, placed.document["status"]) == (0, "confirmed")
    await until(lambda: shardwise.inside("recover", "--dry-run").exit_code == 0)
    assert shardwise.inside("verify").exit_code == 0
