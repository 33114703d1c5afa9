"""The whole contrast: each protocol under load and alone, what others see in its middle, both styles of orders."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text

from contrast import costs, pause, styles
from contrast.accounts import open_accounts
from contrast.documents import Border, ContrastDocument, Machine
from contrast.load import Load, Loader
from contrast.watched_worker import watched_worker
from domain.errors import Refused, Unreachable
from domain.identifiers import contrast_id
from shardwise.connections import Connections, connected
from shardwise.transfers.sagas import TransferSagas
from stack.settings import Settings

_TAKE_TURN = text("SELECT pg_try_advisory_xact_lock(hashtextextended('shardwise/contrast', 0))")
_POSTGRES = text("SELECT current_setting('server_version')")


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured."""

    load: Load
    cost_transfers: int
    lock_timeout_ms: int
    orders: int

    @property
    def accounts_per_shard(self) -> int:
        of_transfers = self.load.accounts_per_shard + costs.ACCOUNTS_PER_SHARD + pause.ACCOUNTS_PER_SHARD
        return of_transfers + styles.CUSTOMERS_PER_SHARD


QUICK = Size(Load((1, 4), 6), 2, 300, 4)


async def contrasted(settings: Settings, size: Size, on_progress: Callable[[str], None]) -> ContrastDocument:
    """Measures everything in one run on the stack that is up. `Refused` while another contrast runs."""
    began, load_before = time.monotonic(), os.getloadavg()[0]
    task = asyncio.current_task()
    assert task is not None
    # However this process is ended, a transfer that is held back must be released.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(ending, task.cancel)
    # The worker is there from the start: it carries out what a run that was killed in a pause has left, which would
    # hold back the outbox, and so the orders of this run.
    async with (
        connected(settings, long_running=True) as to,
        _turn(to),
        watched_worker(to, settings) as worker,
    ):
        sagas = TransferSagas(to.temporal, settings)
        if not await sagas.has_worker():
            raise Unreachable("no_worker", "no worker polls for transfers: start one with `shardwise up` or `worker`")
        run_id = secrets.token_hex(4)
        skus = await styles.list_products(to.router, run_id)
        accounts = await open_accounts(to.router, run_id, size.accounts_per_shard)
        count = sum(len(each) for each in accounts.free.values())
        on_progress(f"opened {count} accounts {contrast_id(f'{run_id}-…')}, paid in from equity; they stay")
        document = ContrastDocument(
            ok=False,
            run_id=run_id,
            accounts=count,
            shards=accounts.shards,
            machine=await _machine(to, accounts.shards[0], load_before),
            seconds=0,
            cells=await Loader(sagas, accounts, size.load, on_progress).run(),
            costs=[],
            middles=[],
            style_cells=[],
            style_costs=[],
        )
        loader = styles.StyleLoader(to, settings, accounts, skus, on_progress)
        document.style_cells = await loader.cells(size.load.concurrencies, size.orders, size.load.rounds)
        document.style_costs = await loader.costs(size.cost_transfers)
        on_progress("one transfer at a time: events, round trips, locks")
        document.costs = await costs.measure_costs(await to.temporal(), worker, accounts, size.cost_transfers)
        observer = pause.Observer(to.router, sagas, worker, accounts, size.lock_timeout_ms)
        for border in Border:
            on_progress(f"holding a transfer by {border.protocol} back {border}")
            document.middles.append(await observer.middle(border))
    document.ok = all(middle.settled for middle in document.middles)
    document.seconds = round(time.monotonic() - began, 1)
    document.machine.load_average_after = os.getloadavg()[0]
    return document


@asynccontextmanager
async def _turn(to: Connections) -> AsyncIterator[None]:
    """One contrast at a time: two would slow each other, and share a task queue."""
    async with to.cluster.catalog.transaction() as connection:
        if not await connection.scalar(_TAKE_TURN):
            raise Refused("contrast_runs", "another `shardwise contrast` runs on this installation")
        yield


async def _machine(to: Connections, shard: str, load_before: float) -> Machine:
    async with to.cluster.primaries[shard].transaction() as connection:
        postgres = str(await connection.scalar(_POSTGRES))
    return Machine(
        cpus=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        postgres=postgres.split()[0],
        load_average_before=round(load_before, 2),
        load_average_after=0,
    )
