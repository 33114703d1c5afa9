"""`projection rebuild` on a real stack: orders go on, its worker dies in the middle, and readers see one version."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from stack.embedded.waiting import attempts
from stack.settings import load_settings, resolve_databases
from tests.support.command import Answer, Shardwise

ORDERS = 30
SECONDS_MAX = 60


@asynccontextmanager
async def read_model(shardwise: Shardwise) -> AsyncIterator[asyncpg.Connection]:
    dsn = resolve_databases(load_settings(shardwise.data_dir)).read_model
    connection = await asyncpg.connect(dsn)
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def customers_locked(shardwise: Shardwise) -> AsyncIterator[None]:
    """Customers are locked while the block runs, so that the filling stops there."""
    async with AsyncExitStack() as opened:
        for dsn in resolve_databases(load_settings(shardwise.data_dir)).shards.values():
            connection = await asyncpg.connect(dsn)
            opened.push_async_callback(connection.close)
            await opened.enter_async_context(connection.transaction())
            await connection.execute("LOCK TABLE customer IN ACCESS EXCLUSIVE MODE")
        yield


async def type_in(shardwise: Shardwise, *arguments: str) -> Answer:
    return await asyncio.to_thread(shardwise if arguments[0] == "up" else shardwise.inside, *arguments)


def file_of_orders(folder: Path) -> Path:
    orders = [
        {"order_id": f"B-{n}", "customer_id": "rich", "currency": "USD", "lines": [{"sku": "APPLE", "quantity": 1}]}
        for n in range(ORDERS)
    ]
    file = folder / "orders.jsonl"
    file.write_text("\n".join(map(json.dumps, orders)))
    return file


async def versions(connection: asyncpg.Connection) -> set[str]:
    names = "SELECT nspname FROM pg_namespace WHERE nspname IN ('next', 'live', 'retired')"
    return {row["nspname"] for row in await connection.fetch(names)}


async def test_a_rebuild_goes_on_after_the_death_of_its_worker_while_orders_come(
    shardwise: Shardwise, tmp_path: Path
) -> None:
    plan = await type_in(shardwise, "projection", "rebuild", "--dry-run")
    assert plan.exit_code == 0
    assert {row["part"] for row in plan.document["rows"]} >= {"orders", "movements", "customers"}
    assert (plan.document["versions"], plan.document["running"]) == (["live"], False)

    async with read_model(shardwise) as connection, read_model(shardwise) as holding:
        # The live version cannot be renamed while this is held; relays and readers go on.
        turn = holding.transaction()
        await turn.start()
        await holding.execute("LOCK TABLE live.projection_cursor IN ROW SHARE MODE")
        importing = shardwise.begin("import", "orders", str(file_of_orders(tmp_path)), "--stuck-after", "120")
        rebuilding = shardwise.begin("projection", "rebuild")
        async for _ in attempts(SECONDS_MAX):
            if "next" in await versions(connection):
                break
        shardwise.kill_worker()
        assert (await type_in(shardwise, "up", "--detach")).exit_code == 0
        refused = await type_in(shardwise, "projection", "revert")
        assert (refused.exit_code, refused.document["error"]["code"]) == (1, "rebuild_running")
        assert await versions(connection) == {"next", "live"}
        await turn.rollback()
        done, stdout = await ended(rebuilding)
        assert done == 0, stdout
        document = json.loads(stdout)
        assert (document["outcome"], document["next"]["wrong"]) == ("switched", 0)
        assert document["next"]["rows"] > 0
        assert await versions(connection) == {"live", "retired"}
        assert (await ended(importing))[0] == 0

        again = await type_in(shardwise, "projection", "rebuild")
        assert (again.exit_code, again.document["outcome"]) == (1, "refused")
        assert "projection confirm" in again.document["refused"]
        assert (await type_in(shardwise, "projection", "rebuild", "--dry-run")).exit_code == 1
        confirmed = [(await type_in(shardwise, "projection", "confirm")).document["confirmed"] for _ in range(2)]
        assert confirmed == [True, False]
        assert await versions(connection) == {"live"}
    await until_projected(shardwise)


async def test_damage_in_the_live_version_is_reported_and_mended(shardwise: Shardwise) -> None:
    await until_projected(shardwise)
    async with read_model(shardwise) as connection:
        assert await connection.execute("UPDATE live.customer SET name = 'somebody' WHERE id = 'rich'") == "UPDATE 1"
        damaged = await type_in(shardwise, "verify")
        [check] = [each for each in damaged.document["checks"] if each["name"] == "read_model"]
        assert (damaged.exit_code, check["violation_count"]) == (1, 1)
        done = await type_in(shardwise, "projection", "rebuild")
        assert done.document["live"]["wrong_by_table"] == {"customer": 1}
        assert done.document["live"]["examples"] == [check["violations"][0]["what"]]
        assert (await type_in(shardwise, "verify")).exit_code == 0
        reverted = await type_in(shardwise, "projection", "revert")
        assert (reverted.exit_code, reverted.document) == (0, {"switched_back": True})
        assert await versions(connection) == {"live"}
        assert await connection.fetchval("SELECT name FROM live.customer WHERE id = 'rich'") == "somebody"
        nothing = await type_in(shardwise, "projection", "revert")
        assert (nothing.exit_code, nothing.document["error"]["code"]) == (1, "nothing_to_revert")
        assert (await type_in(shardwise, "projection", "rebuild")).document["outcome"] == "switched"
        assert (await type_in(shardwise, "projection", "confirm")).exit_code == 0
    assert (await type_in(shardwise, "projection", "retry")).document == {
        "parked": {"shard-1": 0, "shard-2": 0, "shard-3": 0}
    }


async def test_a_new_version_that_differs_from_the_shards_is_not_switched_to(shardwise: Shardwise) -> None:
    await until_projected(shardwise)
    async with read_model(shardwise) as connection:
        async with customers_locked(shardwise):
            rebuilding = shardwise.begin("projection", "rebuild")
            async for _ in attempts(SECONDS_MAX):
                if "next" in await versions(connection):
                    break
            await connection.execute("""
                CREATE FUNCTION next.other_name() RETURNS trigger LANGUAGE plpgsql AS $$
                    BEGIN NEW.name := 'somebody'; RETURN NEW; END $$;
                CREATE TRIGGER other_name BEFORE INSERT ON next.customer
                    FOR EACH ROW EXECUTE FUNCTION next.other_name();
            """)
        code, stdout = await ended(rebuilding)
        document = json.loads(stdout)
        assert (code, document["outcome"]) == (1, "damaged"), stdout
        assert "customer" in document["next"]["wrong_by_table"]
        assert any("name is" in example for example in document["next"]["examples"])
        assert await versions(connection) == {"next", "live"}
        assert (await type_in(shardwise, "projection", "revert")).document == {"switched_back": False}
        assert await versions(connection) == {"live"}


async def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        stdout, stderr = await asyncio.to_thread(process.communicate, timeout=SECONDS_MAX)
    assert "Traceback" not in stderr, stderr
    return process.returncode, stdout


async def until_projected(shardwise: Shardwise) -> None:
    """And `verify` finds the read model as it should be, with nothing on its way."""
    async for _ in attempts(SECONDS_MAX):
        verified = await type_in(shardwise, "verify")
        assert verified.document["ok"], verified.stdout
        if verified.document["read_model"] == {"rows_in_flight": 0, "not_begun": []}:
            return
    raise AssertionError(verified.stdout)
