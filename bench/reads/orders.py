"""Orders per second with replicas beside orders without: what it costs a primary that others follow it."""

from __future__ import annotations

import sys

from bench.orders import CUSTOMERS, RICH, Variant, measure, run_ours, worker
from bench.reads.documents import Orders
from domain.catalogue import Customer
from shardwise import Shardwise
from shardwise.connections import connected
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings

AT_ONCE = 50
REPLICAS = 1


async def measure_orders(app: Shardwise, stack: EmbeddedStack, settings: Settings, orders: int, rounds: int) -> Orders:
    """The same stack with and without, in turns; each pair of rounds begins with the other one. Leaves it without."""
    await app.catalogue.import_customers([Customer(f"C{n}", f"Customer {n}", None, RICH) for n in range(CUSTOMERS)])
    command = [sys.executable, "-m", "cli", "worker", "--data-dir", str(settings.data_dir)]
    variants = [Variant("with", command, run_ours), Variant("without", command, run_ours)]
    async with connected(settings) as to:
        client = await to.temporal()
        for number in range(-1, rounds):  # the first one warms up and is not counted
            for variant in variants if number % 2 else reversed(variants):
                replicas = REPLICAS if variant.name == "with" else 0
                await stack.start_servers(usual_ports=False, replicas=replicas)
                with worker(variant.worker):
                    await measure(variant, client, f"o{number}-{variant.name}", orders, AT_ONCE, number >= 0)
    await stack.start_servers(usual_ports=False, replicas=0)
    return Orders(orders=orders, replicas=REPLICAS, with_replicas=variants[0].rates, without=variants[1].rates)
