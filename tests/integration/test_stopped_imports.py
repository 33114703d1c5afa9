"""An import of transfers that is stopped while it stages: the next waits for its lease, and it writes nothing more."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import psutil  # type: ignore[import-untyped]
import pytest

from domain.leases import InstallationLease, LeaseLost
from shards.connections.cluster import Cluster
from shards.leases.leases import Leases
from shards.routing.router import Router
from shards.transfers.batch import staging
from shards.transfers.batch.staging import Staging, exclusive_staging
from stack.embedded.waiting import attempts
from stack.settings import Databases
from tests.support.batches import transfer
from tests.support.world import World

_numbers = itertools.count(1)


async def expire(world: World) -> None:
    async with world.cluster.catalog.transaction() as connection:
        await connection.exec_driver_sql(
            "UPDATE lease_holder SET granted_at = '-infinity', expires_at = now() WHERE name = 'shardwise/staging'"
        )


async def begin(late: Staging) -> None:
    await late.begin()


async def copy(late: Staging) -> None:
    await late.add(9, transfer("ada", "bob", "1.00"))
    await late._copy(next(shard for shard, rows in late._rows.items() if rows))


async def settle(late: Staging) -> None:
    await late._settle("shard-1")


async def end(late: Staging) -> None:
    await late.end()


async def drop_old(late: Staging) -> None:
    await late.drop_old(days=-1)


@pytest.mark.parametrize("place", [begin, copy, settle, end, drop_old])
async def test_a_later_import_bars_it_from_every_place(
    world: World, place: Callable[[Staging], Awaitable[object]]
) -> None:
    batch_id, shard_map = f"late-{next(_numbers)}", await world.router.map()

    async def stopped() -> None:
        async with exclusive_staging(world.cluster, shard_map, batch_id) as late:
            await expire(world)
            async with exclusive_staging(world.cluster, shard_map, batch_id) as following:
                await following.begin()
                await following.add(2, transfer("ada", "bob", "1.00"))
                await following.end()
            await place(late)

    with pytest.raises(LeaseLost):
        await stopped()
    assert await world.everywhere("SELECT n FROM batch_line WHERE batch_id = :id", id=batch_id) == [(2,)]
    async with exclusive_staging(world.cluster, shard_map, batch_id) as again:
        assert await again.found() is not None


STOPPING = """
import asyncio, json, os, signal, sys
from domain.errors import ShardwiseError
from domain.money import Money
from domain.transfers import Transfer
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from shards.transfers.batch import staging

given = json.load(sys.stdin)
staging.LEASE_SECONDS = 1.5
copy_lines = staging.copy_lines

async def stopping(tx, rows):
    if given["place"] == "fence held":
        os.kill(os.getpid(), signal.SIGSTOP)
    await copy_lines(tx, rows)

async def main():
    servers = given["shards"], given["catalog"], given["read_model"]
    async with Cluster(*servers, pool_size=3, long_running=True) as cluster:
        shard_map = await Router(cluster).map()
        async with staging.exclusive_staging(cluster, shard_map, given["batch"]) as mine:
            await mine.begin()
            await mine.add(2, Transfer("t", "ada", "bob", Money.parse("9.00", "USD")))
            if given["place"] == "between":
                os.kill(os.getpid(), signal.SIGSTOP)
            await mine.end()

staging.copy_lines = stopping
try:
    asyncio.run(main())
except ShardwiseError as error:
    print(error.code)
"""


def opened(servers: Databases) -> Cluster:
    return Cluster(servers.shards, servers.catalog, servers.read_model, pool_size=3, long_running=True)


@pytest.mark.parametrize("place", ["between", "fence held"])
async def test_a_process_that_is_stopped_blocks_the_next_for_its_lease_and_writes_nothing_when_it_wakes_up(
    cluster_dsns: Databases, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setattr(staging, "LEASE_SECONDS", 1.5)
    servers = {"shards": cluster_dsns.shards, "catalog": cluster_dsns.catalog, "read_model": cluster_dsns.read_model}
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STOPPING), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps({**servers, "place": place, "batch": "b"}).encode())
    child.stdin.close()
    try:
        process = psutil.Process(child.pid)
        async for _ in attempts(20):
            if process.status() == psutil.STATUS_STOPPED:
                break
        async with opened(cluster_dsns) as cluster:
            shard_map = await Router(cluster).map()
            async with asyncio.timeout(10), exclusive_staging(cluster, shard_map, "b") as following:
                assert await following.found() is None
                await following.begin()
                await following.add(3, transfer("ada", "bob", "1.00"))
                staged = await following.end()
                os.kill(child.pid, signal.SIGCONT)
                printed, _ = await child.communicate()
                assert printed.decode().split() == ["lease_lost"]
                assert await following.found() == staged
            assert (await Leases(Router(cluster)).read(InstallationLease.STAGING)).token == 2
            lines = []
            for shard in cluster.primaries.values():
                async with shard.transaction() as connection:
                    lines += list((await connection.exec_driver_sql("SELECT n FROM batch_line")).scalars())
            assert lines == [3]
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
