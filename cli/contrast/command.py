"""`contrast`: the three ways to move money, measured side by side in one run."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from sqlalchemy import text

from cli.common import DataDir, run_async
from cli.connections import Connections, connected
from cli.contrast import costs, facts, pause, style_facts, styles
from cli.contrast.cast import Cast, hire
from cli.contrast.documents import Border, ContrastDocument, Machine
from cli.contrast.files import write_between_markers
from cli.contrast.load import Load, Loader
from cli.contrast.watched_worker import watched_worker
from cli.output import Output, output, table
from cli.transfer_sagas import TransferSagas
from domain.errors import InvalidInput, Refused, Unreachable
from stack.settings import Settings, load_settings

CONCURRENCIES_MAX = 8
AT_ONCE_MAX = 1_000

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


def register(app: typer.Typer) -> None:
    app.command()(contrast)


def contrast(
    concurrency: Annotated[str, typer.Option(help="Transfers at once, several numbers with commas.")] = "1,8,32",
    transfers: Annotated[int, typer.Option(min=2, max=100_000, help="In each cell and round.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Of the whole load.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="A look in seconds. Its figures say little.")] = False,
    plot: Annotated[Path, typer.Option(metavar="PATH", help="Where the figure goes, as PATH.svg and PATH.png.")] = Path(
        "contrast"
    ),
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="The table too, between the file's markers if it is there."),
    ] = None,
    data_dir: DataDir = None,
) -> int:
    """Contrast local transactions, sagas and two-phase commit: speed, locks, and what others see in the middle. And
    orders that a workflow orchestrates with those that reactors carry on.

    Runs against the stack that is up, on accounts of its own, which stay. It pauses transfers on purpose, two-phase
    ones with their locks: not for an installation that has work to do. Exit code 1 if one is not settled in the end.
    """
    size = QUICK if quick else Size(Load(_concurrencies(concurrency), transfers, rounds), 20, 1000, transfers)
    out = output()
    document = run_async(_contrast(load_settings(data_dir), size, out))
    # Takes half a second to load, and no other command needs it.
    from cli.contrast.plot import write_plot

    files = write_plot(document, plot)
    if markdown is not None:
        write_between_markers(markdown, f"{facts.markdown(document)}\n{style_facts.markdown(document)}")
        files.append(markdown)
    out.result(document, _page(document, files))
    return 0 if document.ok else 1


def _concurrencies(given: str) -> tuple[int, ...]:
    """Sorted, each once."""
    parts = given.split(",")
    if len(parts) > CONCURRENCIES_MAX or not all(each.isascii() and each.isdigit() for each in parts):
        raise InvalidInput(
            "concurrency", f"concurrency: expected up to {CONCURRENCIES_MAX} numbers such as 1,8,32, got {given!r}"
        )
    numbers = sorted({int(each) for each in parts})
    if numbers[0] < 1 or numbers[-1] > AT_ONCE_MAX:
        raise InvalidInput("concurrency", f"concurrency: expected numbers from 1 to {AT_ONCE_MAX}, got {given!r}")
    return tuple(numbers)


async def _contrast(settings: Settings, size: Size, out: Output) -> ContrastDocument:
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
        out.progress(f"opened {accounts} accounts contrast-{cast.run_id}-…, paid in from equity; they stay")
        document = ContrastDocument(
            ok=False,
            run_id=cast.run_id,
            accounts=accounts,
            shards=cast.shards,
            machine=await _machine(to, cast, load_before),
            seconds=0,
            cells=await Loader(sagas, cast, size.load, out.progress).run(),
            costs=[],
            middles=[],
            style_cells=[],
            style_costs=[],
        )
        loader = styles.StyleLoader(to, settings, cast, goods, out.progress)
        document.style_cells = await loader.cells(size.load.concurrencies, size.orders, size.load.rounds)
        document.style_costs = await loader.costs(size.cost_transfers)
        async with watched_worker(to, settings) as worker:
            out.progress("one transfer at a time: events, round trips, locks")
            document.costs = await costs.measure_costs(await to.temporal(), worker, cast, size.cost_transfers)
            watch = pause.Watch(to.router, sagas, worker, cast, size.lock_timeout_ms)
            for border in Border:
                out.progress(f"holding a transfer by {border.protocol} back {border}")
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
    async with to.cluster.shards[cast.shards[0]].transaction() as connection:
        postgres = str(await connection.scalar(_POSTGRES))
    return Machine(
        cpus=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        postgres=postgres.split()[0],
        load_average_before=round(load_before, 2),
        load_average_after=0,
    )


def _page(document: ContrastDocument, files: list[Path]) -> RenderableType:
    parts: list[RenderableType] = [
        table(facts.COLUMNS, facts.rows(document)),
        f"{facts.finding(document)}.",
        table(style_facts.COLUMNS, style_facts.rows(document)),
        f"{style_facts.finding(document)}.",
        f"written: {', '.join(str(file) for file in files)}; in {document.seconds:.0f} s",
    ]
    if not document.ok:
        parts.append("NOT every paused transfer was settled: see `shardwise verify`")
    return Group(*parts)
