"""Replicas that are away for long, under load: frozen for minutes, then killed and cloned anew; and positions at rest.

    python -m tests.soak.replicas_away [--frozen 300] [--commits 3000]

Prints what was read by level, and by whom. Exit code 1 if a read failed that another server could have served, if the
primary's checkpoints did not go on, or if a replica did not reach a commit at rest.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]

from cli.embedded_stack import UpOptions, bring_up
from domain.catalogue import Product
from domain.consistency import Level
from domain.errors import ShardwiseError
from domain.money import Money
from shards.reading.served import recording
from shardwise import Session, Shardwise
from stack.embedded.record import StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.support.freezing import frozen

SHARD, REPLICA, OTHER = "shard-1", "shard-1-replica-1", "shard-1-replica-2"
SKUS = [f"SKU-{n:02}" for n in range(20)]
SECONDS_MAX = 60
READERS = 4


class Load:
    """Each reader renames a product now and then, and reads one at some level, in a session of its own."""

    def __init__(self, app: Shardwise) -> None:
        self._app = app
        self.read: Counter[tuple[str, str]] = Counter()
        self.failed: Counter[tuple[str, str]] = Counter()
        self.older = 0

    def clear(self) -> None:
        self.read.clear()
        self.failed.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._reader(n)) for n in range(READERS)]
        try:
            yield
            assert not [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _reader(self, number: int) -> None:
        chance = random.Random(number)
        mine = self._app.within(Session())
        wrote: dict[str, int] = {}
        for n in range(sys.maxsize):
            sku, level = chance.choice(SKUS), chance.choice(list(Level))
            if n % 10 == 0:
                wrote[sku] = (await mine.catalogue.rename_product(sku, f"{number}/{n}")).version
            try:
                with recording() as served:
                    product = await mine.catalogue.product(sku, level)
            except ShardwiseError as error:
                self.failed[level, error.code] += 1
                continue
            self.read[level, served[-1].server] += 1
            if level in (Level.READ_YOUR_WRITES, Level.STRONG) and product.version < wrote.get(sku, 0):
                self.older += 1
            await asyncio.sleep(0.002)

    def servers(self) -> set[str]:
        return {server for (_, server), count in self.read.items() if count}


class Run:
    def __init__(self, stack: EmbeddedStack, settings: Settings) -> None:
        self._stack = stack
        self._settings = settings
        self.faults: list[str] = []

    async def ask(self, server: str, statement: str, *parameters: object) -> object:
        connection = await asyncpg.connect(StackRecord.load(self._stack.data_dir).owner_dsn(server))
        try:
            return await connection.fetchval(statement, *parameters)
        finally:
            await connection.close()

    def process(self, server: str) -> psutil.Process:
        return psutil.Process(StackRecord.load(self._stack.data_dir).processes[server].pid)

    def fault(self, message: str) -> None:
        self.faults.append(message)
        print(f"FAULT: {message}", flush=True)

    async def frozen(self, load: Load, seconds: float) -> None:
        kept = Path(self._stack.data_dir) / "postgres" / SHARD / "pg_wal"
        with frozen(self.process(REPLICA).pid):
            await asyncio.sleep(min(5.0, seconds))
            load.clear()
            checkpoints = []
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await asyncio.sleep(min(10.0, seconds))
                began = time.monotonic()
                await self.ask(SHARD, "CHECKPOINT")
                checkpoints.append(time.monotonic() - began)
            if REPLICA in load.servers():
                self.fault(f"{REPLICA} was frozen and answered")
            size = sum(file.stat().st_size for file in kept.iterdir() if file.is_file()) / 2**20
            print(f"frozen {seconds:.0f} s: {len(checkpoints)} checkpoints, the longest {max(checkpoints):.2f} s, ")
            print(f"  pg_wal {size:.0f} MiB, replication slots {await self.ask(SHARD, _SLOTS)}", flush=True)
            self.report(load)
        load.clear()
        began = time.monotonic()
        await self.is_read_from(load)
        print(f"let back in {time.monotonic() - began:.1f} s after it went on")

    async def cloned_anew(self, load: Load) -> None:
        load.clear()
        server = self.process(REPLICA)
        server.kill()
        psutil.wait_procs([server], timeout=SECONDS_MAX)
        await asyncio.to_thread(shutil.rmtree, self._stack.data_dir / "postgres" / REPLICA)
        await asyncio.sleep(2)
        began = time.monotonic()
        await self._stack.start_servers(usual_ports=False, replicas=2)
        print(f"cloned anew in {time.monotonic() - began:.1f} s, killed and without files before")
        self.report(load)
        load.clear()
        await self.is_read_from(load)

    async def is_read_from(self, load: Load) -> None:
        async for _ in attempts(SECONDS_MAX):
            if REPLICA in load.servers():
                return
        self.fault(f"{REPLICA} is not read from again")

    def report(self, load: Load) -> None:
        for level in Level:
            by = {server: count for (of, server), count in sorted(load.read.items()) if of == level}
            print(f"  {level}: {by}")
        if load.failed or load.older:
            self.fault(f"failed {dict(load.failed)}, older than written {load.older}")

    async def at_rest(self, app: Shardwise, commits: int) -> None:
        """Nothing else is written: each commit has to be on a replica before the next one."""
        longest, from_replicas = 0.0, 0
        slow = self._settings.model_copy(update={"read_wait_seconds": 5.0})
        async with await Shardwise.connect(settings=slow) as patient:
            mine = patient.within(Session())
            for n in range(commits):
                # Of many lengths, so that they end everywhere on a page; a switch of segments now and then.
                version = (await mine.catalogue.rename_product(SKUS[0], "x" * (1 + n * 7 % 190))).version
                if n % 50 == 0:
                    await self.ask(SHARD, "SELECT CAST(pg_switch_wal() AS text)")
                with recording() as served:
                    product = await mine.catalogue.product(SKUS[0], Level.READ_YOUR_WRITES)
                if product.version != version:
                    self.fault(f"commit {n} was read back as {product.version} of {version}")
                from_replicas += served[-1].server != SHARD
                longest = max(longest, served[-1].waited_seconds)
        print(
            f"at rest: {from_replicas} of {commits} commits read back from a replica, the longest wait {longest:.3f} s"
        )
        if from_replicas < commits:
            self.fault("a replica did not reach a commit at rest")


_SLOTS = "SELECT count(*) FROM pg_replication_slots"


async def run(seconds: float, commits: int) -> int:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = Settings(data_dir=Path(folder) / "stack")
        stack = EmbeddedStack(settings.data_dir, settings)
        options = UpOptions(shards=1, workers=1, detach=True, replicas=2)
        await bring_up(stack, settings, options, lambda _: None, usual_ports=False)
        try:
            return await _run(Run(stack, settings), settings, seconds, commits)
        finally:
            await stack.stop()


async def _run(runs: Run, settings: Settings, seconds: float, commits: int) -> int:
    async with await Shardwise.connect(settings=settings) as app:
        products = [Product(sku, sku, Money(100, "USD"), 10) for sku in SKUS]
        await app.catalogue.import_products(products)
        load = Load(app)
        async with load.running():
            await runs.is_read_from(load)
            await runs.frozen(load, seconds)
            await runs.cloned_anew(load)
        await runs.at_rest(app, commits)
    return 1 if runs.faults else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frozen", type=float, default=300.0, metavar="SECONDS")
    parser.add_argument("--commits", type=int, default=3000)
    chosen = parser.parse_args()
    sys.exit(asyncio.run(run(chosen.frozen, chosen.commits)))


if __name__ == "__main__":
    main()
