"""The whole contrast: the protocols under load and alone, what others see in their middle, and the two styles."""

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
from contrast.cast import Cast, hire
from contrast.documents import Border, ContrastDocument, Machine
from contrast.load import Load, Loader
from contrast.watched_worker import watched_worker
from domain.errors import Refused, Unreachable
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


async def contrasted(settings: Settings, size: Size, say: Callable[[str], None]) -> ContrastDocument:
    """Everything, measured in one run on the stack that is up. `Refused` where another one runs."""
    began, load_before = time.monotonic(), os.getloadavg()[0]
    task = asyncio.current_task()
    assert task is not None
    # What is held back has to be released, whoever ends us.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    async with connected(settings, long_running=True) as to, _turn(to):
        sagas = TransferSagas(to.temporal, settings)
        if not await sagas.has_worker():
            raise Unreachable("no_worker", "no worker polls for transfers: start one with `shardwise up` or `worker`")
        run_id = secrets.token_hex(4)
        goods = await styles.put_on_shelf(to.router, run_id)
        cast = await hire(to.router, run_id, size.accounts_per_shard)
        accounts = sum(len(each) for each in cast.free.values())
        say(f"opened {accounts} accounts contrast-{cast.run_id}-…, paid in from equity; they stay")
        document = ContrastDocument(
            ok=False,
            run_id=cast.run_id,
            accounts=accounts,
            shards=cast.shards,
            machine=await _machine(to, cast, load_before),
            seconds=0,
            cells=await Loader(sagas, cast, size.load, say).run(),
            costs=[],
            middles=[],
            style_cells=[],
            style_costs=[],
        )
        loader = styles.StyleLoader(to, settings, cast, goods, say)
        document.style_cells = await loader.cells(size.load.concurrencies, size.orders, size.load.rounds)
        document.style_costs = await loader.costs(size.cost_transfers)
        async with watched_worker(to, settings) as worker:
            say("one transfer at a time: events, round trips, locks")
            document.costs = await costs.measure_costs(await to.temporal(), worker, cast, size.cost_transfers)
            watch = pause.Watch(to.router, sagas, worker, cast, size.lock_timeout_ms)
            for border in Border:
                say(f"holding a transfer by {border.protocol} back {border}")
                document.middles.append(await watch.middle(border))
    document.ok = all(middle.settled for middle in document.middles)
    document.seconds = round(time.monotonic() - began, 1)
    document.machine.load_average_after = os.getloadavg()[0]
    return document


@asynccontextmanager
async def _turn(to: Connections) -> AsyncIterator[None]:
    """One contrast at a time: two would measure each other, and share a queue."""
    async with to.cluster.catalog.transaction() as connection:
        if not await connection.scalar(_TAKE_TURN):
            raise Refused("contrast_runs", "another `shardwise contrast` runs on this installation")
        yield


async def _machine(to: Connections, cast: Cast, load_before: float) -> Machine:
    async with to.cluster.primaries[cast.shards[0]].transaction() as connection:
        postgres = str(await connection.scalar(_POSTGRES))
    return Machine(
        cpus=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        postgres=postgres.split()[0],
        load_average_before=round(load_before, 2),
        load_average_after=0,
    )
