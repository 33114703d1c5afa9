"""How late the read model is, and what the relay costs while nothing happens.

    python -m bench.relay [--orders 1000] [--concurrency 200] [--idle 60]

Delay: from an order's event, by its shard's clock, to its row in the read model, by a trigger there. Both run on this
machine. An event's time is that of its transaction's begin, and a row's time is before its batch commits; the two
errors are some milliseconds and partly cancel out.

Idle: one worker without the relays, then one with them: CPU seconds of the worker and of all Postgres servers, and
transactions, per minute.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]

from bench.orders import CUSTOMERS, PRICE, PRODUCTS, RICH, order_of, run_ours, worker
from domain.catalogue import Customer, Product
from shards.catalogue.imports import import_customers, import_products
from shards.outbox.lag import lag_of
from shards.tables.versions import Version
from shardwise.connections import Connections, connected
from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Databases, load_settings, resolve_owner_databases
from workers.migration.migrate import migrate

_WATCH = """
    CREATE UNLOGGED TABLE written (id text, version bigint, at timestamptz NOT NULL DEFAULT clock_timestamp());
    CREATE FUNCTION note_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.written (id, version) VALUES (NEW.id, NEW.version); RETURN NEW;
    END $$;
    CREATE TRIGGER written AFTER INSERT OR UPDATE ON live.order_details
        FOR EACH ROW EXECUTE FUNCTION note_written();
    GRANT INSERT ON written TO PUBLIC;
"""
_FORGET = "TRUNCATE written"
_EVENTS = "SELECT aggregate_id, aggregate_version, created_at FROM outbox WHERE aggregate = 'order'"
_WRITTEN = "SELECT id, version, at FROM written ORDER BY at"
_COMMITS = "SELECT sum(xact_commit) FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True)
class Idle:
    name: str
    worker_seconds: float
    postgres_seconds: float
    transactions: int


async def main(orders: int, concurrency: int, idle_seconds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        data_dir = Path(folder)
        settings = load_settings(data_dir)
        stack = EmbeddedStack(data_dir, settings, _say)
        command = [sys.executable, "-m", "cli", "worker", "--data-dir", str(data_dir)]
        try:
            await stack.start_servers(3, usual_ports=False)
            await migrate(settings, lambda _: None)
            # The trigger is created by the owner: the workers' role may not.
            databases = resolve_owner_databases(settings)
            async with connected(settings) as to:
                await import_catalogue(to)
                await _each([databases.read_model], _WATCH)
                with worker(command):
                    loaded = await delays(to, databases, "loaded", orders, concurrency)
                    alone = await delays(to, databases, "alone", max(orders // 20, 20), 1)
                running = await stack.status()
                postmasters = [psutil.Process(each.pid) for each in [*running.shards, running.catalog]]
                without = [*command, "--queue", "orders", "--queue", "transfers"]
                idle = [
                    await at_rest("without the relay", without, databases, postmasters, idle_seconds),
                    await at_rest("with the relay", command, databases, postmasters, idle_seconds),
                ]
        finally:
            await stack.stop()
    print(f"\n{'from event to read model':34}{'events':>10}{'p50 ms':>10}{'p99 ms':>10}{'max ms':>10}")
    for name, found in ((f"{concurrency} orders in flight", loaded), ("one order at a time", alone)):
        cuts = statistics.quantiles(found, n=100)
        print(f"{name:34}{len(found):>10}{cuts[49]:>10.0f}{cuts[98]:>10.0f}{max(found):>10.0f}")
    print(f"\n{f'{idle_seconds} s at rest, a minute':34}{'worker CPU s':>15}{'Postgres CPU s':>16}{'transactions':>14}")
    for each in idle:
        print(f"{each.name:34}{each.worker_seconds:>15.2f}{each.postgres_seconds:>16.2f}{each.transactions:>14}")


async def import_catalogue(to: Connections) -> None:
    await import_customers(to.router, [Customer(f"C{n}", f"Customer {n}", None, RICH) for n in range(CUSTOMERS)])
    products = [Product(f"SKU-{n:03}", f"Product {n}", PRICE, 1_000_000) for n in range(PRODUCTS)]
    await import_products(to.router, products)


async def delays(to: Connections, databases: Databases, prefix: str, orders: int, concurrency: int) -> Sequence[float]:
    """The delays of all events of these orders, in milliseconds."""
    client = await to.temporal()
    await run_ours(client, order_of(f"{prefix}-first", 0))
    await caught_up(to)
    await _each([databases.read_model], _FORGET)
    gate = asyncio.Semaphore(concurrency)

    async def one(number: int) -> None:
        async with gate:
            await run_ours(client, order_of(f"{prefix}-{number}", number))

    started = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(orders)))
    _say(f"{prefix}: {orders / (time.perf_counter() - started):.1f} orders/s")
    await caught_up(to)
    written: dict[str, list[tuple[int, float]]] = {}
    for row in await _all([databases.read_model], _WRITTEN):
        written.setdefault(row["id"], []).append((row["version"], row["at"].timestamp()))
    events = [row for row in await _all(databases.shards.values(), _EVENTS) if row["aggregate_id"] in written]
    found = []
    for row in events:
        at = next(at for version, at in written[row["aggregate_id"]] if version >= row["aggregate_version"])
        found.append((at - row["created_at"].timestamp()) * 1000)
    assert len(found) == 2 * orders, "each order was placed and confirmed"
    return found


async def caught_up(to: Connections) -> None:
    async for _ in attempts(60):
        lags = [await lag_of(shard, to.cluster.read_model) for shard in to.cluster.primaries.values()]
        if not any(lag.by_consumer[Version.LIVE].events for lag in lags):
            return
    raise SystemExit("the read model does not catch up")


async def at_rest(
    name: str, command: list[str], databases: Databases, postmasters: Sequence[psutil.Process], seconds: int
) -> Idle:
    with worker(command):
        await asyncio.sleep(10)  # Until it has started and finished the work that it found.
        before = await _used(databases, postmasters)
        await asyncio.sleep(seconds)
        after = await _used(databases, postmasters)
    worker_seconds, postgres_seconds, transactions = (
        (now - then) * 60 / seconds for now, then in zip(after, before, strict=True)
    )
    return Idle(name, worker_seconds, postgres_seconds, round(transactions))


async def _used(databases: Databases, postmasters: Sequence[psutil.Process]) -> tuple[float, float, float]:
    """CPU seconds of the worker and of Postgres, and transactions, so far."""
    mine = psutil.Process().children(recursive=True)
    workers = sum(_cpu(each) for each in mine if "cli" in each.cmdline())
    servers = [each for postmaster in postmasters for each in [postmaster, *postmaster.children()]]
    commits = await _all([*databases.shards.values(), databases.read_model], _COMMITS)
    return workers, sum(_cpu(each) for each in servers), float(sum(row[0] for row in commits))


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    # Including children that have ended: a postmaster's backends come and go.
    return float(times.user + times.system + times.children_user + times.children_system)


async def _each(dsns: Sequence[str], sql: str) -> None:
    for dsn in dsns:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(sql)
        finally:
            await connection.close()


async def _all(dsns: Iterable[str], sql: str) -> list[asyncpg.Record]:
    rows = []
    for dsn in dsns:
        connection = await asyncpg.connect(dsn)
        try:
            rows += await connection.fetch(sql)
        finally:
            await connection.close()
    return rows


def _say(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1000)
    parser.add_argument("--concurrency", type=int, default=200)
    parser.add_argument("--idle", type=int, default=60)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.orders, chosen.concurrency, chosen.idle))
