"""Leases per second, and what the fence adds to a write, beside the same write without it, in one run.

    python -m bench.locks [--leases 1000] [--contenders 50] [--writes 2000] [--rounds 3]

*Alone*: one caller takes and releases a lease that nobody else wants; then eight callers, each with a name of its own.
*Contended*: many want one name. Some die while they hold it, and write once more when their time is over; the clocks of
all are wrong and step. Checked: tokens on the protected row are in order. Quote the ratios, not the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

import asyncpg
from sqlalchemy import TextClause, text

from domain.errors import Refused
from domain.leases import Wanted
from shards.leases.fence import RAISED, raise_fence
from shards.leases.leases import Leases
from shards.routing.bulk_transaction import BulkTransaction
from shardwise.connections import Connections, connected
from stack.embedded.stack import EmbeddedStack
from stack.settings import load_settings, resolve_owner_databases
from workers.migration.migrate import migrate

_TABLE = """
    CREATE TABLE protected (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, tokens bigint[] NOT NULL DEFAULT '{}');
    INSERT INTO protected SELECT generate_series(0, 7);
    GRANT ALL ON protected TO PUBLIC;
"""
_PLAIN = text("UPDATE protected SET n = n + 1 WHERE id = :id")
_FOLDED = text(f"WITH {RAISED} {_PLAIN.text} AND EXISTS (SELECT FROM raised)")
_APPEND = text(f"""
    WITH {RAISED}
    UPDATE protected SET tokens = tokens || CAST(:token AS bigint) WHERE id = 0 AND EXISTS (SELECT FROM raised)
""")
# A holder that dies keeps its lease for so long.
SHORT_SECONDS = 0.5
DIES = 0.02


async def main(leases: int, contenders: int, writes: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        settings = load_settings(Path(folder))
        stack = EmbeddedStack(Path(folder), settings, lambda line: print(line, file=sys.stderr))
        try:
            await stack.start_servers(3, usual_ports=False)
            await migrate(settings, lambda _: None)
            databases = resolve_owner_databases(settings)
            owner = await asyncpg.connect(databases.shards["shard-1"])
            await owner.execute(_TABLE)
            async with connected(settings) as to:
                await alone(to, leases)
                await fenced_writes(to, writes, rounds)
                await contended(to, leases, contenders)
            await owner.close()
        finally:
            await stack.stop()


async def alone(to: Connections, leases: int) -> None:
    of = Leases(to.router)

    async def take(name: str, count: int) -> None:
        for _ in range(count):
            lease = await of.acquire(name, Wanted("bench"))
            await of.release(name, "bench", lease.token)

    await take("warm", 20)
    for callers in (1, 8):
        started = time.perf_counter()
        await asyncio.gather(*(take(f"alone-{callers}-{each}", leases // callers) for each in range(callers)))
        rate = leases / (time.perf_counter() - started)
        print(f"alone, {callers} at once: {rate:.0f} leases taken and released a second")


async def fenced_writes(to: Connections, writes: int, rounds: int) -> None:
    shard = to.cluster.shards["shard-1"]

    async def write(statement: TextClause, is_fenced: bool, opens: bool) -> float:
        started = time.perf_counter()
        for _ in range(writes):
            async with shard.primary.transaction() as connection:
                tx = BulkTransaction(connection, shard.name)
                if opens:
                    await raise_fence(tx, "bench", 1)
                await tx.execute(statement, id=1, **({"lease": "bench", "token": 1} if is_fenced else {}))
        return (time.perf_counter() - started) / writes * 1000

    variants: dict[str, Callable[[], Awaitable[float]]] = {
        "without a fence": lambda: write(_PLAIN, False, False),
        "folded into the statement": lambda: write(_FOLDED, True, False),
        "opening the transaction": lambda: write(_PLAIN, False, True),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, measure in variants.items():
            taken[name].append(await measure())
    plain = statistics.median(taken["without a fence"])
    for name, each in taken.items():
        middle = statistics.median(each)
        print(f"a write {name}: {middle:.2f} ms, {middle / plain:.2f} of the same without")


async def contended(to: Connections, leases: int, contenders: int) -> None:
    of, shard, chance = Leases(to.router), to.cluster.shards["shard-1"], random.Random(1)
    granted, refused, unfinished = 0, 0, list[int]()
    clock = time.time

    async def write(token: int) -> None:
        nonlocal refused
        async with shard.primary.transaction() as connection:
            tx = BulkTransaction(connection, shard.name)
            refused += (await tx.execute(_APPEND, lease="contended", token=token)).rowcount == 0

    async def contend(number: int) -> None:
        nonlocal granted
        turn = 0
        while granted < leases:
            turn += 1
            holder = f"c{number}-{turn}"
            lease = await of.acquire("contended", Wanted(holder, seconds=SHORT_SECONDS, wait_seconds=600))
            granted += 1
            await write(lease.token)
            if chance.random() < DIES:
                unfinished.append(lease.token)
                continue
            try:
                await of.release("contended", holder, lease.token)
            except Refused:
                continue  # Its time was over.
            if unfinished and chance.random() < 0.5:
                await write(unfinished.pop(0))

    with mock.patch("time.time", side_effect=lambda: clock() + chance.uniform(-1e6, 1e6)):
        started = time.perf_counter()
        await asyncio.gather(*map(contend, range(contenders)))
        seconds = time.perf_counter() - started
    for token in unfinished:
        await write(token)
    async with shard.primary.transaction() as connection:
        written = list((await connection.exec_driver_sql("SELECT tokens FROM protected WHERE id = 0")).scalar_one())
    in_order = written == sorted(written)
    print(
        f"contended, {contenders} for one name: {granted / seconds:.0f} leases a second, {granted} granted; "
        f"{len(written)} writes {'in' if in_order else 'OUT OF'} the order of their tokens, {refused} refused"
    )
    if not in_order:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=1000)
    parser.add_argument("--contenders", type=int, default=50)
    parser.add_argument("--writes", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    asyncio.run(main(given.leases, given.contenders, given.writes, given.rounds))
