"""What is decided on the shards reaches the read model, also after what stood in its way."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text

from shards.connections.cluster import Cluster
from stack.embedded.waiting import attempts
from stack.settings import Settings, resolve_databases
from stack.temporal_client import connect
from tests.support.command import Shardwise
from tests.support.projecting import read
from tests.support.world import World
from workflows.outbox_relay import workflow_id

SECONDS_MAX = 30
GID = "somebody-elses"
ORDERS = 30


@pytest.fixture
async def world(shardwise: Shardwise) -> AsyncIterator[World]:
    databases = resolve_databases(Settings(data_dir=shardwise.data_dir))
    async with Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=2) as cluster:
        yield World(cluster)


async def ordered(shardwise: Shardwise, customer: str, order_id: str) -> None:
    opened = shardwise.inside("account", "open", customer, "--currency", "USD", "--balance", "100.00")
    assert opened.exit_code == 0, opened.stdout
    placed = shardwise.inside("order", "place", "--customer", customer, "--line", "WATCH:1@1.00", "--id", order_id)
    assert placed.exit_code == 0, placed.stdout


async def state_in_read_model(world: World, order_id: str) -> str | None:
    found = await read(world, "SELECT state FROM live.order_details WHERE id = :id", id=order_id)
    return str(found[0][0]) if found else None


async def until_in_read_model(world: World, order_id: str, state: str) -> None:
    async for _ in attempts(SECONDS_MAX):
        if await state_in_read_model(world, order_id) == state:
            return
    raise AssertionError(f"the read model does not have {order_id} as {state}")


async def test_a_transaction_in_doubt_holds_back_its_own_shard_alone_and_is_reported(
    shardwise: Shardwise, world: World
) -> None:
    frozen, free = [await world.new_name(shard) for shard in ("shard-1", "shard-2")]
    async with world.cluster.primaries["shard-1"].autocommit() as connection:
        await connection.exec_driver_sql("BEGIN")
        await connection.execute(text("INSERT INTO outbox_cursor (consumer, xid) VALUES ('of a test', '1')"))
        await connection.exec_driver_sql(f"PREPARE TRANSACTION '{GID}'")
    try:
        await ordered(shardwise, frozen, "behind-a-freeze")
        await ordered(shardwise, free, "beside-a-freeze")
        await until_in_read_model(world, "beside-a-freeze", "confirmed")
        assert await state_in_read_model(world, "behind-a-freeze") is None
        status = shardwise.inside("status", lag_alarm_seconds="0.2")
        assert status.exit_code == 1, status.stdout
        lag = {each["shard"]: each for each in status.document["events"]["shards"]}
        assert lag["shard-1"]["hidden_events"] > 0
        [live] = [each for each in lag["shard-1"]["consumers"] if each["consumer"] == "live"]
        assert live["events"] >= lag["shard-1"]["hidden_events"]
        assert live["seconds"] > 0.2
        assert lag["shard-2"]["hidden_events"] == 0
    finally:
        async with world.cluster.primaries["shard-1"].autocommit() as connection:
            await connection.exec_driver_sql(f"ROLLBACK PREPARED '{GID}'")
    await until_in_read_model(world, "behind-a-freeze", "confirmed")


async def test_orders_go_on_without_the_read_model_which_catches_up(
    shardwise: Shardwise, world: World, tmp_path: Path
) -> None:
    customer = await world.new_name()
    opened = shardwise.inside("account", "open", customer, "--currency", "USD", "--balance", "10000.00")
    assert opened.exit_code == 0
    file = tmp_path / "orders.jsonl"
    lines = [{"sku": "WATCH", "quantity": 1, "unit_price": "1.00"}]
    orders = [
        {"order_id": f"away-{n}", "customer_id": customer, "currency": "USD", "lines": lines} for n in range(ORDERS)
    ]
    file.write_text("\n".join(map(json.dumps, orders)))
    of_customer = "SELECT count(*) FROM orders WHERE customer_id = :id AND state IN ('confirmed', 'rejected')"
    with shardwise.begin("import", "orders", str(file), "--concurrency", "4", "--stuck-after", "120") as importing:
        async for _ in attempts(SECONDS_MAX):
            if sum(row[0] for row in await world.everywhere(of_customer, id=customer)) > 3:
                break
        shardwise.kill_server("catalog")
        stdout, stderr = importing.communicate(timeout=120)
    assert importing.returncode == 0, stderr
    assert json.loads(stdout)["total"] == ORDERS
    assert sum(row[0] for row in await world.everywhere(of_customer, id=customer)) == ORDERS

    assert shardwise("up", "--detach").exit_code == 0
    final = "SELECT count(*) FROM live.order_details WHERE customer_id = :id AND state IN ('confirmed', 'rejected')"
    async for _ in attempts(SECONDS_MAX):
        if (await read(world, final, id=customer))[0][0] == ORDERS:
            return
    raise AssertionError("the read model does not catch up")


async def test_a_relay_that_is_killed_or_terminated_is_back_with_the_next_worker(
    shardwise: Shardwise, world: World
) -> None:
    client = await connect(Settings(data_dir=shardwise.data_dir))
    await client.get_workflow_handle(workflow_id("shard-2")).terminate("a test does so")
    shardwise.kill_worker()
    assert shardwise("up", "--detach").exit_code == 0
    for shard in world.cluster.primaries:
        await ordered(shardwise, await world.new_name(shard), f"after-a-death-{shard}")
        await until_in_read_model(world, f"after-a-death-{shard}", "confirmed")
