"""Seconds and memory of `shardwise verify` by the number of orders, in one run on the same servers.

    python -m bench.verify [--orders 100000]

A quarter of the orders is planted and verified, then the rest: the cost per order must not grow with their number, and
memory must not grow at all. Each time all orders must be counted, and a damaged one in the middle must be reported.
Quote the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil  # type: ignore[import-untyped]

from bench.direct_rebuild import rebuild_directly
from bench.planted_orders import Planter, import_catalogue, is_confirmed, order_id_of
from domain.identifiers import order_saga_id
from shardwise.connections import connected
from stack.embedded.stack import EmbeddedStack
from stack.settings import load_settings, resolve_owner_databases
from workers.migration.migrate import migrate

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Verified:
    """One run of the command, from its start to its exit."""

    exit_code: int
    document: dict[str, Any]
    seconds: float
    cpu_seconds: float
    """Of the command alone, without the servers: on a busy machine it is more reliable than the clock."""
    peak_bytes: int

    def check(self, name: str) -> dict[str, Any]:
        [check] = [each for each in self.document["checks"] if each["name"] == name]
        return dict(check)


@dataclass(frozen=True)
class Measured:
    orders: int
    healthy: Verified
    damaged: Verified


async def main(orders: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        data_dir = Path(folder)
        settings = load_settings(data_dir)
        stack = EmbeddedStack(data_dir, settings, _say)
        try:
            await stack.start_servers(3, usual_ports=False)
            await migrate(settings, lambda _: None)
            async with connected(settings, long_running=True) as to:
                planter = await import_catalogue(to.router, resolve_owner_databases(settings).shards)
            empty = await verify(data_dir)
            assert (empty.exit_code, empty.document["expired"]) == (0, 0), empty.document
            quarter = orders // 4
            measured = [
                await measure(data_dir, planter, range(quarter), quarter),
                await measure(data_dir, planter, range(quarter, orders), orders),
            ]
        finally:
            await stack.stop()
    report(empty, measured)


async def measure(data_dir: Path, planter: Planter, new: range, orders: int) -> Measured:
    started = time.perf_counter()
    await planter.plant(new)
    _say(f"{len(new)} orders planted in {time.perf_counter() - started:.0f} s")
    started = time.perf_counter()
    async with connected(load_settings(data_dir)) as to:
        await rebuild_directly(to.cluster)
    _say(f"the read model of {orders} filled in {time.perf_counter() - started:.0f} s")
    healthy = await verify(data_dir)
    assert (healthy.exit_code, healthy.document["ok"]) == (0, True), healthy.document
    assert healthy.document["read_model"] == {"rows_in_flight": 0, "not_begun": []}, healthy.document
    assert healthy.check("read_model")["checked"] > 4 * orders, healthy.document
    assert healthy.check("orders")["checked"] == healthy.document["expired"] == orders, healthy.document
    assert healthy.document["in_flight"] == {"orders": 0, "transfers": 0, "money": {}, "prepared_transactions": 0}
    async with damaged(planter, next(filter(is_confirmed, range(orders // 2, orders)))) as expected:
        found = await verify(data_dir)
    sentences = [violation["what"] for violation in found.check("clearing")["violations"]]
    assert found.exit_code == 1, found.document
    assert expected in sentences, sentences
    return Measured(orders, healthy, found)


@asynccontextmanager
async def damaged(planter: Planter, number: int) -> AsyncIterator[str]:
    """Removes a cent from this order's payment at its target; yields the expected sentence. Repaired afterwards."""
    saga_id = order_saga_id(order_id_of(number))
    change = "UPDATE clearing_leg SET amount = amount + $1 WHERE saga_id = $2 AND role = 'second'"
    connection = await asyncpg.connect(planter.dsns[planter.merchant_shard()])
    try:
        assert await connection.execute(change, 1, saga_id) == "UPDATE 1"
        yield f"{saga_id} sent 15.00 USD from {planter.customer_shard(number)}, but 14.99 USD arrived"
        await connection.execute(change, -1, saga_id)
    finally:
        await connection.close()


async def verify(data_dir: Path) -> Verified:
    command = [sys.executable, "-P", "-m", "cli", "verify", "--json", "--data-dir", str(data_dir)]
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    watching = asyncio.create_task(_watch(process.pid))
    stdout, _ = await process.communicate()
    seconds = time.perf_counter() - started
    return Verified(process.returncode or 0, json.loads(stdout), seconds, *await watching)


async def _watch(pid: int) -> tuple[float, int]:
    """CPU seconds and peak memory, sampled: the kernel's own maximum counts what the process was forked from."""
    cpu, peak = 0.0, 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        while process.is_running():
            spent = process.cpu_times()
            cpu, peak = max(cpu, spent.user + spent.system), max(peak, process.memory_info().rss)
            await asyncio.sleep(SAMPLE_SECONDS)
    return cpu, peak


def report(empty: Verified, measured: list[Measured]) -> None:
    print("\nshardwise verify, as a process; nine in ten orders confirmed, stock on two shards\n")
    print(f"{'orders':>10}{'seconds':>10}{'with damage':>14}{'CPU seconds':>14}{'CPU ms an order':>18}{'peak MB':>10}")
    for orders, each, damage in [(0, empty, empty), *((each.orders, each.healthy, each.damaged) for each in measured)]:
        an_order = f"{(each.cpu_seconds - empty.cpu_seconds) / orders * 1000:.3f}" if orders else ""
        print(
            f"{orders:>10}{each.seconds:>10.1f}{damage.seconds:>14.1f}{each.cpu_seconds:>14.1f}{an_order:>18}"
            f"{each.peak_bytes / 1e6:>10.0f}"
        )
    few, many = (each.healthy for each in measured)
    seconds = (many.seconds - empty.seconds) / (few.seconds - empty.seconds)
    cpu = (many.cpu_seconds - empty.cpu_seconds) / (few.cpu_seconds - empty.cpu_seconds)
    print(
        f"\n{measured[1].orders / measured[0].orders:.1f} times the orders: {seconds:.2f} times the seconds and "
        f"{cpu:.2f} times the CPU over an empty installation, {many.peak_bytes / few.peak_bytes:.2f} times the memory"
    )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=100_000)
    asyncio.run(main(parser.parse_args().orders))
