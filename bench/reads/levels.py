"""The mix at every level and replay delay, in turns, so that a machine whose speed drifts slows all of them."""

from __future__ import annotations

import os
import platform
import sys
from collections import defaultdict
from collections.abc import Sequence

import asyncpg

from bench.orders import PRICE
from bench.orders import PRODUCTS as ALL_PRODUCTS
from bench.reads.documents import Cell, Variant
from bench.reads.mix import PRODUCTS, Counts, Ledger, Mix
from contrast.documents import Machine
from domain.catalogue import Product
from shardwise import Shardwise
from stack.embedded.record import StackRecord
from stack.embedded.waiting import attempts
from stack.settings import Settings

DELAYS_MS = (0, 10, 100)
WARM_UP_SECONDS = 1.0
_SET = "ALTER SYSTEM SET recovery_min_apply_delay = '{}ms'"
_IS = "SELECT setting::int FROM pg_settings WHERE name = 'recovery_min_apply_delay'"
_SECONDS_MAX = 10


async def list_products(app: Shardwise) -> list[str]:
    """As many as orders need, spread over the shards. Returns those that are renamed and read, of all shards."""
    products = [Product(f"SKU-{n:03}", f"Product {n}", PRICE, 1_000_000) for n in range(ALL_PRODUCTS)]
    await app.catalogue.import_products(products)
    return [product.sku for product in products[:: ALL_PRODUCTS // PRODUCTS]][:PRODUCTS]


async def measure_levels(
    app: Shardwise, settings: Settings, skus: Sequence[str], seconds: float, rounds: int
) -> list[Cell]:
    """`seconds` for each variant, delay and round."""
    mix = Mix(app, skus, Ledger())
    cells = []
    for delay_ms in DELAYS_MS:
        await delay_replay(settings, delay_ms)
        counts: dict[Variant, Counts] = defaultdict(Counts)
        for variant in Variant:
            await mix.run(variant, WARM_UP_SECONDS, "warm up", Counts())
        for number in range(rounds):
            turns = list(Variant)
            for variant in turns[number % len(turns) :] + turns[: number % len(turns)]:
                await mix.run(variant, seconds, f"round {number}", counts[variant])
        cells += [counts[variant].cell(delay_ms, variant) for variant in Variant]
        for cell in cells[-len(Variant) :]:
            say(f"{delay_ms} ms, {cell.variant}: p50 {cell.p50_ms} ms, {cell.by_replicas:.1%} by replicas")
    await delay_replay(settings, 0)
    return cells


async def delay_replay(settings: Settings, delay_ms: int) -> None:
    """On all replicas: a commit is replayed this long after it was made. As the owner, since nobody else may."""
    record = StackRecord.load(settings.data_dir)
    for name in (replica for shard in record.shards for replica in record.replicas_of(shard)):
        connection = await asyncpg.connect(record.owner_dsn(name))
        try:
            await connection.execute(_SET.format(delay_ms))
            await connection.execute("SELECT pg_reload_conf()")
            async for _ in attempts(_SECONDS_MAX):
                if await connection.fetchval(_IS) == delay_ms:
                    break
        finally:
            await connection.close()


async def machine(settings: Settings, load_before: float) -> Machine:
    record = StackRecord.load(settings.data_dir)
    connection = await asyncpg.connect(record.owner_dsn(record.shards[0]))
    try:
        postgres = str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()
    return Machine(
        cpus=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        postgres=postgres.split()[0],
        load_average_before=round(load_before, 2),
        load_average_after=round(os.getloadavg()[0], 2),
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
