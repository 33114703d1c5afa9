"""`make outage`: one shard is killed and stays away for a minute while orders go on.

    python -m tests.soak.outage [--seconds 60] [--waiting 60]

Two imports run: `free` orders touch nothing on the dead shard, `waiting` ones need it each in another way: for their
customer, their stock or their id. Measured in one run: the rate of free orders before and during the outage, and how
long after the shard's first answer the last waiting order is final, merchant paid and goods gone. Exit code 0 only if
that is within ten seconds and `verify` is ok.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from domain.shard_map import bucket_of, spread_buckets
from stack.embedded.ports import PortClaims
from stack.embedded.waiting import POLL_SECONDS, attempts
from tests.soak.soak import say, stack
from tests.support.command import Shardwise

FINAL_WITHIN_SECONDS = 10.0
WARM_UP_SECONDS = 10.0
GIVE_UP_SECONDS = 120.0
CUSTOMERS = 12
PRODUCTS = 12
FREE_CONCURRENCY = 20
FREE_ORDERS = 20_000

_PAID = "SELECT created_at FROM clearing_leg WHERE role = 'second' AND saga_id LIKE 'order/free-%'"
_CONSUMED = "SELECT DISTINCT saga_id FROM barrier WHERE saga_id LIKE 'order/waiting-%' AND step LIKE 'consume_stock/%'"
_CREDITED = "SELECT saga_id FROM clearing_leg WHERE role = 'second' AND saga_id LIKE 'order/waiting-%'"


@dataclass(frozen=True)
class Places:
    """Which shard has which key, by `show`. `dead` is the shard to kill, not the merchant's: all need that."""

    dead: str
    dsns: dict[str, str]
    customers: dict[str, str]
    skus: dict[str, str]

    def order(self, name: str, needs: str | None) -> dict[str, Any]:
        """`needs`: what lies on the dead shard, 'customer', 'stock' or 'id'; None: nothing."""
        order_id = next(each for each in _ids(name) if (self._id_shard(each) == self.dead) == (needs == "id"))
        lines = [{"sku": self._key(self.skus, needs == "stock", name), "quantity": 1}]
        customer = self._key(self.customers, needs == "customer", name)
        return {"order_id": order_id, "customer_id": customer, "currency": "USD", "lines": lines}

    def _id_shard(self, order_id: str) -> str:
        return spread_buckets(list(self.dsns))[bucket_of(order_id)]

    def _key(self, places: dict[str, str], on_dead: bool, salt: str) -> str:
        fitting = sorted(key for key, shard in places.items() if (shard == self.dead) == on_dead)
        return fitting[bucket_of(salt) % len(fitting)]


def _ids(name: str) -> Iterator[str]:
    return (f"{name}.{number}" for number in itertools.count())


def open_shop(shardwise: Shardwise, folder: Path) -> Places:
    files = {"customers": folder / "customers.csv", "products": folder / "products.csv"}
    customers = [f"c{number}" for number in range(CUSTOMERS)]
    skus = [f"s{number:02}" for number in range(PRODUCTS)]
    rows = [f"{name},{name},,USD,1000000.00\n" for name in customers]
    files["customers"].write_text("customer_id,name,email,currency,opening_balance\n" + "".join(rows))
    rows = [f"{sku},{sku},USD,1.00,1000000\n" for sku in skus]
    files["products"].write_text("sku,name,currency,unit_price,stock\n" + "".join(rows))
    for kind, file in files.items():
        assert shardwise("import", kind, str(file)).exit_code == 0
    merchant = shardwise("account", "show", "merchant.USD").document["shard"]
    dsns = shardwise.databases.shards
    return Places(
        next(shard for shard in dsns if shard != merchant),
        dsns,
        {name: shardwise("account", "show", name).document["shard"] for name in customers},
        {sku: shardwise("stock", "show", sku).document["shard"] for sku in skus},
    )


@contextmanager
def importing(shardwise: Shardwise, file: Path, concurrency: int) -> Iterator[None]:
    """Killed at the end of the block: an import can be, and what it started goes on."""
    with shardwise.begin("import", "orders", str(file), "--concurrency", str(concurrency)) as process:
        reading = threading.Thread(target=process.communicate)
        reading.start()
        try:
            yield
        finally:
            process.kill()
            reading.join()


@contextmanager
def port_kept(dsn: str) -> Iterator[None]:
    """While the server is dead no other stack on this machine takes its port."""
    port, claims = urlsplit(dsn).port or 0, PortClaims()
    deadline = time.monotonic() + GIVE_UP_SECONDS
    while not claims.claim(port):  # The dead server's last sessions still have it.
        assert time.monotonic() < deadline, f"port {port} does not come free"
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        claims.release()


@dataclass(frozen=True)
class Outage:
    """Rates in orders per second. `recovery`: seconds from the shard's first answer to the last waiting order's end."""

    before: float
    during: float
    waited: int
    recovery: float
    verified: bool


def outage(shardwise: Shardwise, folder: Path, seconds: float, waiting: int) -> Outage:
    places = open_shop(shardwise, folder)
    free, needy = folder / "free.jsonl", folder / "waiting.jsonl"
    kinds = itertools.cycle(("customer", "stock", "id"))
    _write(free, (places.order(f"free-{number}", None) for number in range(FREE_ORDERS)))
    _write(needy, (places.order(f"waiting-{number}", next(kinds)) for number in range(waiting)))
    with importing(shardwise, free, FREE_CONCURRENCY):
        time.sleep(WARM_UP_SECONDS)
        began = time.time()
        time.sleep(seconds)
        say(f"kill -9 of {places.dead}")
        os.kill(_postmaster(shardwise, places.dead), signal.SIGKILL)
        died = time.time()
        with importing(shardwise, needy, waiting):
            with port_kept(places.dsns[places.dead]):
                time.sleep(seconds)
            ended = time.time()
            with shardwise.begin("up", "--detach") as up:
                recovery = asyncio.run(_recovery(places, waiting))
                stdout, stderr = up.communicate()
            assert up.returncode == 0, stdout + stderr
    paid = asyncio.run(_everywhere(places, _PAID))
    return Outage(
        before=sum(began <= at.timestamp() < died for at in paid) / (died - began),
        during=sum(died <= at.timestamp() < ended for at in paid) / (ended - died),
        waited=waiting,
        recovery=recovery,
        verified=shardwise("verify").exit_code == 0,
    )


def _write(file: Path, orders: Iterable[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(order) + "\n" for order in orders))


def _postmaster(shardwise: Shardwise, name: str) -> int:
    shards = shardwise("status").document["shards"]
    return int(next(shard["pid"] for shard in shards if shard["name"] == name))


async def _recovery(places: Places, waiting: int) -> float:
    """Seconds from the dead shard's first answer until every waiting order has its goods gone and its merchant paid."""
    async for _ in attempts(GIVE_UP_SECONDS):
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            await (await asyncpg.connect(places.dsns[places.dead])).close()
            break
    returned = time.monotonic()
    say(f"{places.dead} answers again")
    async for _ in attempts(GIVE_UP_SECONDS):
        if len(await _everywhere(places, _CONSUMED)) == len(await _everywhere(places, _CREDITED)) == waiting:
            break
    return time.monotonic() - returned


async def _everywhere(places: Places, query: str) -> list[Any]:
    found = []
    for dsn in places.dsns.values():
        connection = await asyncpg.connect(dsn)
        try:
            found += [row[0] for row in await connection.fetch(query)]
        finally:
            await connection.close()
    return found


def report(measured: Outage) -> None:
    rows = [
        ("free orders a second before", f"{measured.before:.1f}"),
        ("free orders a second during", f"{measured.during:.1f}"),
        ("during / before", f"{measured.during / measured.before:.2f}"),
        ("orders that waited", str(measured.waited)),
        ("seconds from the shard's return until all are final", f"{measured.recovery:.1f}"),
        ("verify afterwards", "ok" if measured.verified else "WRONG"),
    ]
    for name, value in rows:
        print(f"{name:<55}{value:>8}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--waiting", type=int, default=60)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="shardwise-outage-") as folder, stack(Path(folder)) as shardwise:
        measured = outage(shardwise, Path(folder), chosen.seconds, chosen.waiting)
    report(measured)
    return 0 if measured.verified and measured.recovery <= FINAL_WITHIN_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
