"""What `report balances` costs over 3 and over 6 shards beside one shard's part, in one run on the same servers.

    python -m bench.balances [--accounts 10000] [--rounds 40]

Six shards with as many accounts each. All variants take turns within a round, so that a machine whose speed drifts
slows all of them. Every answer must balance, and have every account. Quote the ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg

from domain.catalogue import Customer
from domain.money import Money
from domain.percentiles import percentile
from shards.connections.database import Database
from shards.read_model.pages import PageAfter
from shards.reports.balances import accounts_of, read_parts, sums_of
from shards.reports.scatter import SHARDS_AT_ONCE
from shardwise import Shardwise
from shardwise.connections import connected
from shardwise.reports import LIMIT, SHARD_SECONDS
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings, resolve_owner_databases
from workers.migration.migrate import migrate

SHARDS = 6
SOME = 3
OPENING = Money(10_000, "USD")
WARM_UP_ROUNDS = 3

ONE = "one shard's part"
# How many shards are asked, and how many of them at once.
VARIANTS: Mapping[str, tuple[int, int]] = {
    ONE: (1, 1),
    f"{SOME} shards": (SOME, SHARDS_AT_ONCE),
    f"{SOME} shards, one after the other": (SOME, 1),
    f"{SHARDS} shards": (SHARDS, SHARDS_AT_ONCE),
    f"{SHARDS} shards, one after the other": (SHARDS, 1),
}


async def main(accounts: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        settings = load_settings(Path(folder))
        stack = EmbeddedStack(Path(folder), settings, _say)
        try:
            await stack.start_servers(SHARDS, usual_ports=False, replicas=0)
            await migrate(settings, lambda _: None)
            started = time.perf_counter()
            async with await Shardwise.connect(settings=settings) as app:
                await app.catalogue.import_customers(_customers(accounts * SHARDS))
            _say(f"{accounts * SHARDS} accounts imported in {time.perf_counter() - started:.0f} s")
            async with connected(settings, long_running=True) as to:
                shards = to.cluster.primaries
                await vacuum(settings)
                load = os.getloadavg()[0]
                measured = {
                    what: await measure(shards, with_sums, rounds, accounts)
                    for what, with_sums in (("totals and a page", True), ("a later page", False))
                }
        finally:
            await stack.stop()
    report(measured, accounts, rounds, load)


async def vacuum(settings: Settings) -> None:
    """As autovacuum leaves tables. As the owner, since nobody else may."""
    for dsn in resolve_owner_databases(settings).shards.values():
        connection = await asyncpg.connect(dsn)
        await connection.execute("VACUUM ANALYZE")
        await connection.close()


def _customers(count: int) -> Iterator[Customer]:
    return (Customer(f"C{number:07}", "Ada", None, OPENING) for number in range(count))


async def measure(
    shards: Mapping[str, Database], with_sums: bool, rounds: int, accounts: int
) -> Mapping[str, list[float]]:
    """Seconds of each variant, round by round."""
    # Other ones each time, so that one shard stands for all of them.
    names = itertools.cycle(shards)
    seconds: dict[str, list[float]] = defaultdict(list)
    turns = list(VARIANTS)
    for number in range(rounds + WARM_UP_ROUNDS):
        for variant in turns[number % len(turns) :] + turns[: number % len(turns)]:
            count, at_once = VARIANTS[variant]
            chosen = {name: shards[name] for name in itertools.islice(names, count)}
            started = time.perf_counter()
            await ask(chosen, at_once, with_sums, accounts)
            if number >= WARM_UP_ROUNDS:
                seconds[variant].append(time.perf_counter() - started)
    return seconds


async def ask(shards: Mapping[str, Database], at_once: int, with_sums: bool, accounts: int) -> None:
    page: PageAfter[str] = PageAfter(LIMIT) if with_sums else PageAfter(LIMIT, "C0000500")
    found = await read_parts(shards, page, with_sums, SHARD_SECONDS, at_once)
    assert not found.missing, found.missing
    assert len(accounts_of(found.answers.values(), page).rows) == LIMIT
    if with_sums:
        sums = sums_of(found.answers.values())["USD"]
        assert sums.customers + sums.merchants + sums.clearing == sums.paid_in == sums.accounts * OPENING.minor
        assert len(shards) < SHARDS or sums.accounts == accounts * SHARDS


def report(measured: Mapping[str, Mapping[str, list[float]]], accounts: int, rounds: int, load: float) -> None:
    print(f"\nreport balances, {accounts} accounts a shard, {rounds} rounds; {os.cpu_count()} cores, load {load:.1f}\n")
    print(f"{'':<22}{'':<34}{'p50 ms':>10}{'p99 ms':>10}{'beside one':>14}")
    for what, seconds in measured.items():
        one = percentile(seconds[ONE], 50)
        for variant in VARIANTS:
            p50, p99 = percentile(seconds[variant], 50), percentile(seconds[variant], 99)
            print(f"{what:<22}{variant:<34}{p50 * 1000:>10.1f}{p99 * 1000:>10.1f}{p50 / one:>14.2f}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=10_000, help="on each shard")
    parser.add_argument("--rounds", type=int, default=40)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.accounts, chosen.rounds))
