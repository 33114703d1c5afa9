"""See `bench.reads`."""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

import bench.reads
from bench.reads.documents import ReadsDocument
from bench.reads.levels import list_products, machine, measure_levels, say
from bench.reads.mix import CACHE_SECONDS, MIX
from bench.reads.orders import measure_orders
from bench.reads.spread import measure_processes, measure_spread
from bench.reads.tables import markdown
from bench.reads.write import assert_can_write, write
from shardwise import Shardwise
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings, resolve_databases
from workers.migration.migrate import migrate

SHARDS, REPLICAS = 2, 2
REPLICAS_OF_A_SPREAD = 3


async def main(chosen: argparse.Namespace) -> int:
    """Exit code 1 if what is promised does not hold."""
    if chosen.write is not None:
        assert_can_write(chosen.write)
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        settings = load_settings(Path(folder))
        stack = EmbeddedStack(Path(folder), settings, say)
        try:
            await stack.start_servers(SHARDS, usual_ports=False, replicas=REPLICAS)
            await migrate(settings, lambda _: None)
            document = await measured(stack, settings, chosen)
        finally:
            await stack.stop()
    print(markdown(document))
    if chosen.write is not None:
        for file in write(document, chosen.write):
            say(f"written: {file}")
    broken = list(document.broken())
    for each in broken:
        say(f"WRONG: {each}")
    return 1 if broken else 0


async def measured(stack: EmbeddedStack, settings: Settings, chosen: argparse.Namespace) -> ReadsDocument:
    load_before = os.getloadavg()[0]
    async with await Shardwise.connect(settings=settings) as app:
        skus = await list_products(app)
        document = ReadsDocument(
            machine=await machine(settings, load_before),
            shards=SHARDS,
            replicas=REPLICAS,
            mix=MIX,
            cache_seconds=CACHE_SECONDS,
            cells=await measure_levels(app, settings, skus, chosen.seconds, chosen.rounds),
        )
        if chosen.spread or chosen.processes:
            await stack.start_servers(usual_ports=False, replicas=REPLICAS_OF_A_SPREAD)
        if chosen.spread:
            document.spread_exact = await measure_spread(resolve_databases(settings), chosen.spread)
        if chosen.processes:
            at = resolve_databases(settings)
            document.spread_of_processes = await measure_processes(app, at, skus, chosen.processes)
        if chosen.orders:
            document.orders = await measure_orders(app, stack, settings, chosen.orders, chosen.rounds)
    document.machine.load_average_after = round(os.getloadavg()[0], 2)
    return document


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=bench.reads.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5, help="for each variant, delay and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--spread", type=int, default=10_000, help="reads in one process; 0: none")
    parser.add_argument("--processes", type=int, default=300, help="reads in processes of their own; 0: none")
    parser.add_argument("--orders", type=int, default=200, help="in each round; 0: none")
    parser.add_argument("--write", type=Path, metavar="PATH", help="PATH.json, the tables in PATH.md, PATH.svg")
    raise SystemExit(asyncio.run(main(parser.parse_args())))
