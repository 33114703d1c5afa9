"""Events per second of the projection beside a plain INSERT … SELECT of the same rows; then a rebuild of many orders
while orders go on and pages are read. In one run, on the same servers.

    python -m bench.projection [--orders 4000] [--rebuilt 100000] [--rounds 3]

Quote the ratios. No reader may see an empty page or an older one: that is asserted.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from bench.bulk import worker
from bench.direct_orders import DirectOrders
from bench.direct_rebuild import rebuild_directly
from bench.planted_orders import PRICE, PRODUCTS, customer_id_of, import_catalogue
from domain.orders import Order, OrderLine
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.projection.comparable import COMPARABLES
from shards.projection.projector import Projector
from shards.tables.versions import Version
from shardwise.connections import Connections, connected
from stack.embedded.stack import EmbeddedStack
from stack.settings import load_settings, resolve_owner_databases
from workers.migration.migrate import migrate

AT_ONCE = 16
# Few enough to leave the machine to the rebuild: they disturb it, and are not measured.
AT_ONCE_BESIDE_A_REBUILD = 2
READERS = 3
READ_EVERY_SECONDS = 0.02
PAGE_ROWS = 50
# The rows that a round has written, by table; the other tables are small and taken whole.
WRITTEN = {
    "order_details": "id >= :first",
    "order_item": "order_id >= :first",
    "statement_line": "saga_id >= 'order/' || :first",
}
TABLES = [*(each.table for each in COMPARABLES), "sales"]

_PAGE = text(f"""
    SELECT id, placed_at, version FROM live.order_details ORDER BY placed_at DESC, id DESC LIMIT {PAGE_ROWS}
""")
_numbers = itertools.count()


@dataclass
class Measured:
    """One round: seconds of the projection and of plain SQL."""

    events: int
    rows: int
    projected_seconds: float
    plain_seconds: float


async def main(orders: int, rebuilt: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        data_dir = Path(folder)
        settings = load_settings(data_dir)
        stack = EmbeddedStack(data_dir, settings, _say)
        try:
            await stack.start_servers(3, usual_ports=False)
            await migrate(settings, lambda _: None)
            async with connected(settings, long_running=True) as to:
                planter = await import_catalogue(to.router, resolve_owner_databases(settings).shards)
                await _project_all(to.cluster)
                measured = [await measure(to, orders) for _ in range(rounds)]
                await planter.plant(range(rebuilt))
                started = time.perf_counter()
                await rebuild_directly(to.cluster)
                quiet = time.perf_counter() - started
                beside = await rebuild_under_load(to, data_dir)
        finally:
            await stack.stop()
    report(measured, orders, rebuilt, quiet, beside)


# ── the projection beside plain SQL ─────────────────────────────────────────────────────────────────────────


async def measure(to: Connections, orders: int) -> Measured:
    direct, gate = DirectOrders(to.router), asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with gate:
            await direct.carry_out(new_order())

    first, before = next(_numbers) + 1, await _orders(to.cluster.read_model)
    await asyncio.gather(*(one() for _ in range(orders)))
    started = time.perf_counter()
    events = await _project_all(to.cluster)
    projected = time.perf_counter() - started
    assert await _orders(to.cluster.read_model) == before + orders
    rows, plain = await _plain(to.cluster.read_model, order_id_of(first))
    _say(f"{events} events in {projected:.1f} s; their {rows} rows by plain SQL in {plain:.1f} s")
    return Measured(events, rows, projected, plain)


async def _project_all(cluster: Cluster) -> int:
    """Projects all events, like one relay per shard but without pauses. Returns how many."""

    async def one(shard: Database) -> int:
        projector, taken = Projector(shard, cluster.read_model), 0
        while True:
            stepped = await projector.project(Version.LIVE)
            taken += stepped.events
            if not stepped.more:
                return taken

    return sum(await asyncio.gather(*(one(shard) for shard in cluster.primaries.values())))


async def _plain(read_model: Database, first: str) -> tuple[int, float]:
    """Copies this round's rows into empty tables with the same indexes. Returns how many, and seconds."""
    async with read_model.transaction() as connection:
        await connection.exec_driver_sql("CREATE SCHEMA plain")
        for table in TABLES:
            await connection.exec_driver_sql(f"CREATE TABLE plain.{table} (LIKE live.{table} INCLUDING ALL)")
    started, rows = time.perf_counter(), 0
    async with read_model.transaction() as connection:
        for table in TABLES:
            statement = f"INSERT INTO plain.{table} SELECT * FROM live.{table} WHERE {WRITTEN.get(table, 'true')}"
            rows += (await connection.execute(text(statement), {"first": first})).rowcount
    seconds = time.perf_counter() - started
    async with read_model.transaction() as connection:
        await connection.exec_driver_sql("DROP SCHEMA plain CASCADE")
    return rows, seconds


async def _orders(read_model: Database) -> int:
    async with read_model.transaction() as connection:
        return int((await connection.execute(text("SELECT count(*) FROM live.order_details"))).scalar_one())


def new_order() -> Order:
    number = next(_numbers)
    near, far = f"SKU-{number % (PRODUCTS // 3):03}", f"SKU-{PRODUCTS - 1 - number % (PRODUCTS // 3):03}"
    lines = (OrderLine(near, 2, PRICE), OrderLine(far, 1, PRICE))
    return Order(order_id_of(number), customer_id_of(number), "USD", lines)


def order_id_of(number: int) -> str:
    """Sorts after the ids of planted orders."""
    return f"R-{number:07}"


# ── a rebuild while orders go on and pages are read ─────────────────────────────────────────────────────────


@dataclass
class Beside:
    """What happened while the command ran: orders carried out and pages read."""

    seconds: float = 0.0
    rows: int = 0
    orders: int = 0
    pages: int = 0


async def rebuild_under_load(to: Connections, data_dir: Path) -> Beside:
    """Rebuilds by the command, with one worker, which also hosts the relays."""
    beside, over = Beside(), asyncio.Event()
    command = [sys.executable, "-P", "-m", "cli", "projection", "rebuild", "--json", "--data-dir", str(data_dir)]
    with worker(data_dir):
        going_on = [asyncio.create_task(_order(to, beside, over)) for _ in range(AT_ONCE_BESIDE_A_REBUILD)]
        going_on += [asyncio.create_task(_read(to.cluster.read_model, beside, over)) for _ in range(READERS)]
        try:
            started = time.perf_counter()
            process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
            stdout, _ = await process.communicate()
            beside.seconds = time.perf_counter() - started
        finally:
            over.set()
            await asyncio.gather(*going_on)
    document = json.loads(stdout)
    assert (document["outcome"], document["next"]["wrong"], document["live"]["wrong"]) == ("switched", 0, 0), document
    beside.rows = document["next"]["rows"]
    return beside


async def _order(to: Connections, beside: Beside, over: asyncio.Event) -> None:
    direct = DirectOrders(to.router)
    while not over.is_set():
        await direct.carry_out(new_order())
        beside.orders += 1


async def _read(read_model: Database, beside: Beside, over: asyncio.Event) -> None:
    """Reads the newest orders again and again. Each page must be full and never go back in time, nor must any order."""
    newest: Any = None
    versions: dict[str, int] = {}
    while not over.is_set():
        async with read_model.transaction() as connection:
            page = (await connection.execute(_PAGE)).all()
        assert len(page) == PAGE_ROWS, "a page that is not full"
        assert newest is None or (page[0].placed_at, page[0].id) >= newest, "an older page"
        newest = (page[0].placed_at, page[0].id)
        assert all(row.version >= versions.get(row.id, 0) for row in page), "an older order"
        versions = {row.id: row.version for row in page}
        beside.pages += 1
        await asyncio.sleep(READ_EVERY_SECONDS)


def report(measured: list[Measured], orders: int, rebuilt: int, quiet: float, beside: Beside) -> None:
    rate = statistics.median(each.events / each.projected_seconds for each in measured)
    rows = statistics.median(each.rows / each.projected_seconds for each in measured)
    plain = statistics.median(each.rows / each.plain_seconds for each in measured)
    ratio = statistics.median(each.projected_seconds / each.plain_seconds for each in measured)
    print(f"\nrounds of {orders} orders on 3 shards, a projector for each\n")
    print(f"{'projection':<32}{rate:>8.0f} events/s{rows:>10.0f} rows/s")
    print(f"{'plain INSERT … SELECT':<32}{'':>8}         {plain:>10.0f} rows/s")
    print(f"\nratio projection / plain SQL by time, round by round, median: {ratio:.1f}")
    print(f"\nrebuild of {rebuilt} orders without its workflow, on idle servers, not compared: {quiet:.1f} s")
    print(
        f"the same by the command, while {beside.orders} orders were carried out and {beside.pages} pages read: "
        f"{beside.seconds:.1f} s, {beside.rows} rows compared"
    )
    print("no reader saw an empty page, or an older one")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=4_000)
    parser.add_argument("--rebuilt", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.orders, arguments.rebuilt, arguments.rounds))
