"""A server that dies or hangs costs its callers little, and the other servers' callers nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text

from domain.errors import InvalidInput, NotMigrated, Unreachable
from shards.connections.database import COMMAND_SECONDS, Database
from stack.settings import Databases
from tests.conftest import FreshDatabase
from tests.support.postgres import scratch_server, sibling

SECONDS_MAX = 20


@pytest.fixture
async def own_server(tmp_path: Path) -> AsyncIterator[str]:
    async with scratch_server(tmp_path) as dsn:
        yield dsn


@pytest.fixture
async def database(own_server: str) -> AsyncIterator[Database]:
    made = Database("shard-x", own_server, pool_size=2)
    yield made
    await made.close()


async def _one(database: Database) -> int:
    async with database.transaction() as connection:
        return int((await connection.execute(text("SELECT 1"))).scalar_one())


async def _eventually(database: Database) -> float:
    """Seconds until it answers again."""
    started = time.monotonic()
    while time.monotonic() - started < SECONDS_MAX:
        try:
            await _one(database)
        except Unreachable:
            await asyncio.sleep(0.05)
        else:
            return time.monotonic() - started
    raise AssertionError("the database did not come back")


async def _postmaster(database: Database) -> psutil.Process:
    async with database.transaction() as connection:
        backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    return psutil.Process(backend).parent()


async def test_a_killed_server_is_unreachable_and_soon_reported_without_trying(database: Database) -> None:
    postmaster = await _postmaster(database)
    family = [postmaster, *postmaster.children()]
    for process in family:
        process.kill()
    await asyncio.to_thread(psutil.wait_procs, family, SECONDS_MAX)
    for _ in range(4):
        with pytest.raises(Unreachable):
            await _one(database)
    started = time.monotonic()
    with pytest.raises(Unreachable, match="a moment ago"):
        await _one(database)
    assert time.monotonic() - started < 0.1


async def test_a_hung_server_is_given_up_in_time_and_used_again_when_it_is_back(
    database: Database, postgres_server: str
) -> None:
    async with database.transaction() as connection:
        backend = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
    postmaster = psutil.Process(backend).parent()
    frozen = [postmaster.pid, *(child.pid for child in postmaster.children())]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(Unreachable):
            await _one(database)
        assert time.monotonic() - started < COMMAND_SECONDS + 3
        other = Database("shard-y", postgres_server, pool_size=2)
        started = time.monotonic()
        assert await _one(other) == 1
        assert time.monotonic() - started < 1
        await other.close()
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    assert await _eventually(database) < 8


async def test_failed_and_cancelled_transactions_give_their_connection_back(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT 1"))
            raise RuntimeError("ours")

    for _ in range(50):
        with pytest.raises(RuntimeError):
            await fail()

    async def hang() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT pg_sleep(3)"))

    for _ in range(5):
        task = asyncio.create_task(hang())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.gather(*(_one(database) for _ in range(6))) == [1] * 6


async def test_a_transaction_that_is_left_open_is_ended_by_the_server(database: Database) -> None:
    async def dawdle() -> None:
        async with database.transaction() as connection:
            await connection.execute(text("SELECT 1"))
            await asyncio.sleep(COMMAND_SECONDS + 1)
            await connection.execute(text("SELECT 1"))

    with pytest.raises(Unreachable):
        await dawdle()
    assert await _one(database) == 1


@pytest.mark.parametrize("wrong", ["database", "user", "ssl"])
async def test_an_address_that_leads_nowhere_is_reported_as_a_bad_setting(postgres_server: str, wrong: str) -> None:
    head, _, host = postgres_server.partition("@")
    dsns = {
        "database": sibling(postgres_server, "nowhere"),
        "user": f"postgresql://nobody:nothing@{host}",
        "ssl": f"{head}@{host}?ssl=perhaps",
    }
    mistaken = Database("shard-x", dsns[wrong], pool_size=1)
    for _ in range(5):  # Not an outage: the circuit breaker has no say in it.
        with pytest.raises(InvalidInput, match=r"^shard-x: ") as refused:
            await _one(mistaken)
        assert refused.value.field == "shard-x"
    await mistaken.close()


async def test_a_database_without_our_tables_is_one_to_migrate(fresh_database: FreshDatabase) -> None:
    empty = Database("shard-x", await fresh_database(), pool_size=1)
    with pytest.raises(
        NotMigrated, match=r'shard-x: relation "orders" does not exist: run `shardwise migrate`'
    ) as refused:
        async with empty.transaction() as connection:
            await connection.execute(text("SELECT FROM orders"))
    assert refused.value.code == "not_migrated"
    await empty.close()


async def test_another_shards_database_is_refused(cluster_dsns: Databases) -> None:
    swapped = Database("shard-1", cluster_dsns.shards["shard-2"], pool_size=1, check_name=True)
    for transaction in (swapped.transaction, swapped.snapshot, swapped.transaction):
        with pytest.raises(InvalidInput, match=r"shard-1 that is shard-2"):
            async with transaction():
                raise AssertionError("it was handed out")
    await swapped.close()


async def test_a_shard_is_asked_for_its_name_once(cluster_dsns: Databases) -> None:
    shard = Database("shard-1", cluster_dsns.shards["shard-1"], pool_size=1, check_name=True)
    async with shard.snapshot() as connection:
        assert await connection.scalar(text("SHOW transaction_isolation")) == "repeatable read"
    async with shard.transaction() as connection:
        await connection.execute(text("UPDATE shard_identity SET name = 'other'"))
    async with shard.transaction() as connection:
        await connection.execute(text("UPDATE shard_identity SET name = 'shard-1'"))
    await shard.close()
