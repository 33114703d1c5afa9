"""`import orders`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn

from cli.terminal.application import call_app
from cli.terminal.options import DataDir, SessionFile, StyleOption
from cli.terminal.output import Output, output
from cli.terminal.progress import print_lines, running_beside
from domain.orders import Style
from shardwise import Shardwise
from shardwise.files.faults import Faults
from shardwise.files.order_file import opened_orders
from shardwise.orders.importing import LineOutcome, Tally

REDRAW_SECONDS = 0.25


def register(group: typer.Typer) -> None:
    group.command()(orders)


def orders(
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="One order a line; - reads standard input.")],
    concurrency: Annotated[int, typer.Option(min=1, max=1000, help="Orders in flight.")] = 50,
    stuck_after: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="Count an order pending that takes longer.")
    ] = 60.0,
    style: StyleOption = Style.ORCHESTRATED,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> int:
    """Place every order of a file and count how they ended. Safe to repeat, also after a kill.

    Exit code 2 when lines were invalid, else 3 when orders are pending, else 1 when workflows failed, else 0.
    """
    with opened_orders(file) as source:
        return call_app(data_dir, lambda app: _import(app, source, style, concurrency, stuck_after), session)


async def _import(app: Shardwise, source: BinaryIO, style: Style, concurrency: int, stuck_after: float) -> int:
    out, tally, started = output(), Tally(), time.monotonic()
    faults = Faults(out.progress)
    async with running_beside(_progress(out, tally, _size(source), started)):
        await app.orders.import_file(source, faults.report, style, concurrency, stuck_after, tally, out.progress)
    faults.report_rest()
    seconds = round(time.monotonic() - started, 3)
    out.result(_document(tally, seconds), _summary(tally, seconds))
    return _exit_code(tally)


def _progress(out: Output, tally: Tally, size: int | None, started: float) -> Coroutine[Any, Any, None]:
    if out.stderr.is_terminal:
        return _bar(out, tally, size, started)
    return print_lines(out, lambda: _so_far(tally, time.monotonic() - started))


async def _bar(out: Output, tally: Tally, size: int | None, started: float) -> None:
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=out.stderr, transient=True) as progress:
        bar = progress.add_task("", total=size)
        while True:
            progress.update(bar, completed=tally.bytes_done, description=_so_far(tally, time.monotonic() - started))
            await asyncio.sleep(REDRAW_SECONDS)


def _size(source: BinaryIO) -> int | None:
    """In bytes; None if the end cannot be known, as in a pipe."""
    try:
        end = source.seek(0, 2)
        source.seek(0)
    except OSError:
        return None
    return end


def _so_far(tally: Tally, seconds: float) -> str:
    counts = ", ".join(f"{tally.outcomes[outcome]} {outcome}" for outcome in LineOutcome if tally.outcomes[outcome])
    return f"{tally.done} orders, {tally.done / max(seconds, 0.001):.0f}/s: {counts or 'none yet'}"


def _document(tally: Tally, seconds: float) -> dict[str, Any]:
    outcomes = {outcome.value: tally.outcomes[outcome] for outcome in LineOutcome}
    by_reason = {reason.value: count for reason, count in tally.by_reason.most_common()}
    return {
        "total": tally.total,
        **outcomes,
        "unchanged": tally.unchanged,
        "by_reason": by_reason,
        "seconds": seconds,
    }


def _summary(tally: Tally, seconds: float) -> str:
    reasons = [f"  {count} {reason}" for reason, count in tally.by_reason.most_common()]
    unchanged = [f"  {tally.unchanged} unchanged: final before this import"] if tally.unchanged else []
    return "\n".join([f"{_so_far(tally, seconds)} in {seconds:.1f} s", *reasons, *unchanged])


def _exit_code(tally: Tally) -> int:
    if tally.outcomes[LineOutcome.INVALID]:
        return 2
    if tally.outcomes[LineOutcome.PENDING]:
        return 3
    return 1 if tally.outcomes[LineOutcome.FAILED] else 0
