"""Transfers per second of the bulk lane beside the best plain SQL and beside single workflows, in one run on the same
servers.

    python -m bench.bulk [--transfers 200000] [--accounts 10000] [--rounds 1]

Half of the transfers go across shards, and 2 % are refused for lack of money. Quote the ratios, not the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from bench import plain_batch
from domain.catalogue import Customer
from domain.money import Money
from domain.shard_map import ShardMap
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.catalogue.imports import import_customers
from shardwise.connections import Connections, connected
from shardwise.files.transfer_file import GoodLine, open_transfers, read_transfers
from shardwise.transfers.sagas import TransferSagas
from stack.embedded.record import TEMPORAL, StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings, resolve_databases
from workers.migration.migrate import migrate

BALANCE = Money(1_000_000_00, "USD")
TOO_MUCH = "2000000.00"
DECLINED_OF = 50
READY_SECONDS = 60
SINGLE_TRANSFERS = 400
SINGLE_CONCURRENCY = 50
SINGLE_SECONDS_MAX = 120.0


async def main(transfers: int, accounts: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        data_dir = Path(folder)
        settings = load_settings(data_dir)
        stack = EmbeddedStack(data_dir, settings, lambda line: print(line, file=sys.stderr))
        try:
            await stack.start_servers(3, usual_ports=False)
            await migrate(settings, lambda _: None)
            await compare(settings, data_dir, transfers, accounts, rounds)
        finally:
            await stack.stop()


@dataclass
class Measured:
    """Transfers per second, and microseconds of CPU per transfer, which other load on the machine distorts less. The
    CPU is that of Postgres, the worker and the command, without Temporal, whose idle load outweighs the work of a
    batch."""

    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


async def compare(settings: Settings, data_dir: Path, transfers: int, accounts: int, rounds: int) -> None:
    bulk, plain = Measured(), Measured()
    peaks: list[int] = []
    async with connected(settings, long_running=True) as to:
        for number in range(rounds):
            # Separate accounts, so that neither variant works on the other's rows.
            for name in ("plain", "bulk"):
                prefix = f"{name}{number}-"
                file = data_dir / f"{prefix}.csv"
                write_file(file, await open_accounts(to, prefix, accounts), await to.router.map(), transfers)
                measured = plain if name == "plain" else bulk
                before = cpu_seconds(data_dir)
                if name == "plain":
                    seconds = await measure_plain(settings, to, file)
                else:
                    seconds, peak = await asyncio.to_thread(measure_bulk, data_dir, file, transfers)
                    peaks.append(peak)
                measured.rates.append(transfers / seconds)
                measured.cpu.append((cpu_seconds(data_dir) - before) / transfers * 1e6)
                print(f"round {number}: {name} {measured.rates[-1]:.0f}/s", file=sys.stderr)
        file = data_dir / "single.csv"
        write_file(file, await open_accounts(to, "single-", accounts), await to.router.map(), SINGLE_TRANSFERS)
        single = 1 / await measure_single(settings, to, data_dir, file)
    report(bulk, plain, single, peaks, transfers, accounts)


async def measure_single(settings: Settings, to: Connections, data_dir: Path, file: Path) -> float:
    """Seconds per transfer if each of the file's first transfers is a workflow of its own."""
    with open_transfers(file) as source:
        lines = [line async for batch in read_transfers(source) for line in batch if isinstance(line, GoodLine)]
    transfers = [line.transfer for line in lines[:SINGLE_TRANSFERS]]
    sagas = TransferSagas(to.temporal, settings)
    shard_map, gate = await to.router.map(), asyncio.Semaphore(SINGLE_CONCURRENCY)

    async def one(transfer: Transfer) -> None:
        async with gate:
            shard = shard_map.of_account(transfer.source).shard
            result = await sagas.carry_out(transfer, ProtocolChoice.AUTO, shard, SINGLE_SECONDS_MAX)
            assert result is not None
            assert result.status in (TransferStatus.SETTLED, TransferStatus.DECLINED)

    with worker(data_dir):
        await one(transfers.pop())
        started = time.perf_counter()
        await asyncio.gather(*map(one, transfers))
        return (time.perf_counter() - started) / len(transfers)


async def open_accounts(to: Connections, prefix: str, count: int) -> list[str]:
    ids = [f"{prefix}{number}" for number in range(count)]
    await import_customers(to.router, [Customer(each, each, None, BALANCE) for each in ids])
    return ids


def write_file(file: Path, accounts: Sequence[str], shard_map: ShardMap, transfers: int) -> None:
    chance = random.Random(str(file.name))
    shard_of = {account: shard_map.of_account(account).shard for account in accounts}
    by_shard = defaultdict(list)
    for account, shard in shard_of.items():
        by_shard[shard].append(account)
    with file.open("w") as out:
        out.write("transfer_id,source,target,amount,currency,reference\n")
        for number in range(transfers):
            source = chance.choice(accounts)
            across = number % 2 == 1
            shards = [shard for shard in by_shard if (shard != shard_of[source]) == across]
            target = source
            while target == source:
                target = chance.choice(by_shard[chance.choice(shards)])
            amount = TOO_MUCH if number % DECLINED_OF == 0 else f"{chance.randrange(1, 1000)}.{number % 100:02}"
            out.write(f"T{number},{source},{target},{amount},USD,\n")


async def measure_plain(settings: Settings, to: Connections, file: Path) -> float:
    started = time.perf_counter()
    await plain_batch.carry_out(resolve_databases(settings).shards, await to.router.map(), file, file.stem)
    return time.perf_counter() - started


def measure_bulk(data_dir: Path, file: Path, transfers: int) -> tuple[float, int]:
    """Runs the whole command: its seconds, and the worker's peak memory in bytes."""
    command = [sys.executable, "-m", "cli", "import", "transfers", str(file), "--data-dir", str(data_dir), "--json"]
    with worker(data_dir) as pid:
        started = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=_environment())
        seconds = time.perf_counter() - started
        peak = _peak_bytes(pid)
    document = json.loads(done.stdout)
    assert document["settled"] == transfers - transfers // DECLINED_OF, document
    return seconds, peak


@contextmanager
def worker(data_dir: Path) -> Iterator[int]:
    """Runs a worker; yields its process id once it polls."""
    ready = data_dir / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "cli", "worker", "--data-dir", str(data_dir)]
    environment = {**_environment(), "SHARDWISE_READY_FILE": str(ready)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not ready.exists():
            assert time.monotonic() < deadline, "the worker does not start"
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_seconds(data_dir: Path) -> float:
    """CPU seconds so far of the database servers, and of this process and its children that have ended."""
    total = 0.0
    for name, mark in StackRecord.load(data_dir).processes.items():
        if name == TEMPORAL:
            continue
        server = psutil.Process(mark.pid)
        for process in (server, *server.children()):
            times = process.cpu_times()
            total += times.user + times.system
            # Postgres sessions that have ended count as children of their server.
            total += times.children_user + times.children_system
    own = os.times()
    return total + own.user + own.system + own.children_user + own.children_system


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def report(bulk: Measured, plain: Measured, single: float, peaks: list[int], transfers: int, accounts: int) -> None:
    print(f"\n{transfers} transfers over {accounts} accounts on 3 shards, half across shards, 2 % declined\n")
    for name, each in (("bulk lane, the whole command", bulk), ("plain SQL", plain)):
        rate, cpu = statistics.median(each.rates), statistics.median(each.cpu)
        print(f"{name:32}{rate:>8.0f} transfers/s{cpu:>8.0f} us of CPU a transfer")
    print(f"{f'a workflow each, {SINGLE_CONCURRENCY} at once':32}{single:>8.0f} transfers/s")
    rates = statistics.median(a / b for a, b in zip(bulk.rates, plain.rates, strict=True))
    cpu = statistics.median(b / a for a, b in zip(bulk.cpu, plain.cpu, strict=True))
    print(f"\nratio bulk / plain SQL, round by round, median: {rates:.2f} by time, {cpu:.2f} by CPU")
    print(f"ratio bulk / single: {statistics.median(bulk.rates) / single:.0f}")
    print(f"worker's peak memory: {max(peaks) / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.transfers, arguments.accounts, arguments.rounds))
