"""Orders per second of the order saga beside the same effects written naively, in one run on the same servers.

    python -m bench.orders [--orders 200] [--rounds 3] [--concurrency 50]

Both variants run alternately, round by round, each with one worker process of its own, so that a change of the
machine's speed affects both. Quote the ratio, not the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from bench.naive_saga import TASK_QUEUE as NAIVE_QUEUE
from bench.naive_saga import NaiveOrderSaga
from domain.catalogue import Customer, Product
from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus
from shards.catalogue.imports import import_customers, import_products
from shardwise.connections import connected
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings
from workers.migration.migrate import migrate
from workflows.interfaces import PlaceOrder
from workflows.orders.saga import TASK_QUEUE, OrderSaga, workflow_id

CUSTOMERS = 200
PRODUCTS = 60
PRICE = Money(500, "USD")
RICH = Money(10**12, "USD")

Run = Callable[[Client, Order], Awaitable[str]]


@dataclass
class Variant:
    name: str
    worker: list[str]
    run: Run
    rates: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    events: list[str] = field(default_factory=list)


async def run_ours(client: Client, order: Order) -> str:
    result = await client.execute_workflow(
        OrderSaga.run, PlaceOrder(order), id=workflow_id(order.order_id), task_queue=TASK_QUEUE
    )
    assert result.status is OrderStatus.CONFIRMED, result
    return workflow_id(order.order_id)


async def run_naive(client: Client, order: Order) -> str:
    naive_id = f"naive/{order.order_id}"
    result = await client.execute_workflow(NaiveOrderSaga.run, order, id=naive_id, task_queue=NAIVE_QUEUE)
    assert result.confirmed, result
    return naive_id


async def main(orders: int, rounds: int, concurrency: int) -> None:
    with tempfile.TemporaryDirectory(prefix="shardwise-bench-") as folder:
        data_dir = Path(folder)
        settings = load_settings(data_dir)
        stack = EmbeddedStack(data_dir, settings, lambda line: print(line, file=sys.stderr))
        try:
            await stack.start_servers(3, usual_ports=False)
            await migrate(settings, lambda _: None)
            await compare(settings, data_dir, orders, rounds, concurrency)
        finally:
            await stack.stop()


async def compare(settings: Settings, data_dir: Path, orders: int, rounds: int, concurrency: int) -> None:
    variants = [
        Variant("saga", [sys.executable, "-m", "cli", "worker", "--data-dir", str(data_dir)], run_ours),
        Variant("naive", [sys.executable, "-m", "bench.naive_saga", str(data_dir)], run_naive),
    ]
    async with connected(settings) as to:
        await import_customers(to.router, [Customer(f"C{n}", f"Customer {n}", None, RICH) for n in range(CUSTOMERS)])
        products = [Product(f"SKU-{n:03}", f"Product {n}", PRICE, 1_000_000) for n in range(PRODUCTS)]
        await import_products(to.router, products)
        client = await to.temporal()
        for number in range(-1, rounds):  # the first one warms up and is not counted
            for variant in variants:
                with worker(variant.worker):
                    await measure(variant, client, f"r{number}-{variant.name}", orders, concurrency, number >= 0)
    report(variants, orders, rounds, concurrency)


@contextmanager
def worker(command: list[str]) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def measure(variant: Variant, client: Client, prefix: str, orders: int, concurrency: int, counted: bool) -> None:
    # The worker is up once it has answered one order.
    await variant.run(client, order_of(f"{prefix}-first", 0))
    gate = asyncio.Semaphore(concurrency)

    async def one(number: int) -> float:
        async with gate:
            started = time.perf_counter()
            await variant.run(client, order_of(f"{prefix}-{number}", number))
            return time.perf_counter() - started

    started = time.perf_counter()
    seconds = await asyncio.gather(*(one(number) for number in range(orders)))
    rate = orders / (time.perf_counter() - started)
    print(f"{prefix}: {rate:.1f} orders/s", file=sys.stderr)
    if counted:
        variant.rates.append(rate)
        variant.seconds += seconds
        if not variant.events:
            lone = await variant.run(client, order_of(f"{prefix}-lone", 1))
            history = await client.get_workflow_handle(lone).fetch_history()
            variant.events = [EventType.Name(event.event_type).removeprefix("EVENT_TYPE_") for event in history.events]


def order_of(order_id: str, number: int) -> Order:
    """Two lines, whose stock lies in two ranges and therefore on two shards."""
    near, far = number % (PRODUCTS // 3), PRODUCTS - 1 - number % (PRODUCTS // 3)
    lines = (OrderLine(f"SKU-{near:03}", 2, PRICE), OrderLine(f"SKU-{far:03}", 1, PRICE))
    return Order(order_id, f"C{number % CUSTOMERS}", "USD", lines)


def report(variants: list[Variant], orders: int, rounds: int, concurrency: int) -> None:
    print(f"\n{rounds} rounds of {orders} orders, {concurrency} at once, stock on two shards, one worker process\n")
    print(f"{'':8}{'orders/s median (min-max)':>30}{'p50 ms':>10}{'p95 ms':>10}{'events an order':>18}")
    for each in variants:
        spread = f"{statistics.median(each.rates):.1f} ({min(each.rates):.1f}-{max(each.rates):.1f})"
        cuts = statistics.quantiles(each.seconds, n=20)
        print(f"{each.name:8}{spread:>30}{cuts[9] * 1000:>10.0f}{cuts[18] * 1000:>10.0f}{len(each.events):>18}")
    ours, naive = variants
    ratios = sorted(a / b for a, b in zip(ours.rates, naive.rates, strict=True))
    median = statistics.median(ratios)
    print(f"\nratio saga / naive, round by round: median {median:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")
    print(f"the saga's events: {', '.join(ours.events)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=50)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.orders, chosen.rounds, chosen.concurrency))
