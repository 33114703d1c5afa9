"""Transfers per second of the bulk lane beside the best plain SQL and beside single workflows, in one run on the same
servers.

    python -m bench.bulk [--transfers 200000] [--accounts 10000] [--rounds 1]

Half of the transfers go across shards, and 2 % are refused for lack of money. Quote the ratios, not the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench import plain_batch
from cli.connections import Connections, connected
from domain.catalogue import Customer
from domain.money import Money
from domain.shard_map import ShardMap
from shards.catalogue_import import import_customers
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings, resolve_databases
from workers.migrate import migrate

BALANCE = Money(1_000_000_00, "USD")
TOO_MUCH = "2000000.00"
DECLINED_OF = 50
READY_SECONDS = 60


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


async def compare(settings: Settings, data_dir: Path, transfers: int, accounts: int, rounds: int) -> None:
    bulk: list[float] = []
    plain: list[float] = []
    peaks: list[int] = []
    async with connected(settings, long_running=True) as to:
        for number in range(rounds):
            # Accounts of their own, so that neither finds the other's rows in its way.
            for name in ("plain", "bulk"):
                prefix = f"{name}{number}-"
                file = data_dir / f"{prefix}.csv"
                write_file(file, await open_accounts(to, prefix, accounts), await to.router.map(), transfers)
                if name == "plain":
                    plain.append(transfers / await measure_plain(settings, to, file))
                else:
                    seconds, peak = await asyncio.to_thread(measure_bulk, data_dir, file, transfers)
                    bulk.append(transfers / seconds)
                    peaks.append(peak)
                print(f"round {number}: {name} {(plain if name == 'plain' else bulk)[-1]:.0f}/s", file=sys.stderr)
    report(bulk, plain, peaks, transfers, accounts)


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
    """Seconds of the whole command, and the worker's peak memory in bytes."""
    ready = data_dir / "ready.json"
    ready.unlink(missing_ok=True)
    command = [sys.executable, "-m", "cli", "worker", "--data-dir", str(data_dir)]
    worker = subprocess.Popen(
        command, env={**_environment(), "SHARDWISE_READY_FILE": str(ready)}, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not ready.exists():
            assert time.monotonic() < deadline, "the worker does not start"
            time.sleep(0.05)
        started = time.perf_counter()
        command = [sys.executable, "-m", "cli", "import", "transfers", str(file), "--data-dir", str(data_dir), "--json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=_environment())
        seconds = time.perf_counter() - started
        document = json.loads(done.stdout)
        assert document["settled"] == transfers - transfers // DECLINED_OF, document
        return seconds, _peak_bytes(worker.pid)
    finally:
        worker.terminate()
        worker.wait()


def _environment() -> dict[str, str]:
    import os

    return {name: value for name, value in os.environ.items() if not name.startswith("SHARDWISE_")}


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def report(bulk: list[float], plain: list[float], peaks: list[int], transfers: int, accounts: int) -> None:
    print(f"\n{transfers} transfers over {accounts} accounts on 3 shards, half across shards, 2 % declined\n")
    print(f"bulk lane   {statistics.median(bulk):>10.0f} transfers/s, the whole command")
    print(f"plain SQL   {statistics.median(plain):>10.0f} transfers/s")
    ratios = [a / b for a, b in zip(bulk, plain, strict=True)]
    print(f"\nratio bulk / plain SQL, round by round: median {statistics.median(ratios):.2f}")
    print(f"worker's peak memory: {max(peaks) / 1e6:.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transfers", type=int, default=200_000)
    parser.add_argument("--accounts", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.transfers, arguments.accounts, arguments.rounds))
