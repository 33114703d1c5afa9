"""`demo`: five orders on a temporary stack, and the outcome of each."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import typer

from cli.demo.report import DemoReport, StackStays
from cli.demo.sample_files import sample_customers, sample_products
from cli.embedded_stack import UpOptions, bring_up
from cli.terminal.application import run_async
from cli.terminal.interrupts import Interrupts
from cli.terminal.keypress import is_interactive, wait_for_key
from cli.terminal.output import Output, output
from shardwise.demo.run import run_demo
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running, to look at it.")] = False,
) -> int:
    """Run five orders on a temporary stack: confirmed, refused twice, cancelled, and one through a worker's death.

    Ends with a table of what happened to each and why, and `verify`. At a terminal the stack stays up until a key is
    pressed, for a look at one history in Temporal's UI. Exit code 0 only if all was as expected.
    """
    return run_async(_demo(keep, output()))


async def _demo(keep: bool, out: Output) -> int:
    started, interrupts = time.monotonic(), Interrupts()
    try:
        return await _run(keep, out, started, interrupts)
    except BaseException:
        if interrupted := interrupts.as_error():
            raise interrupted from None
        raise


async def _run(keep: bool, out: Output, started: float, interrupts: Interrupts) -> int:
    async with _temporary_stack(keep, out, interrupts) as (stack, settings):
        await bring_up(stack, settings, UpOptions(shards=None, workers=1, detach=True), out.progress, usual_ports=False)
        run = await run_demo(stack, settings, sample_customers(), sample_products(), out.progress)
        stays = StackStays.KEPT if keep else StackStays.UNTIL_A_KEY if is_interactive(out) else StackStays.NOT
        report = DemoReport(run, stays is not StackStays.NOT, time.monotonic() - started)
        out.result(report.document(), report.page(stays, stack.data_dir))
        if stays is StackStays.UNTIL_A_KEY:
            await wait_for_key()
            out.progress("stopping it")
    return 0 if report.ok else 1


@asynccontextmanager
async def _temporary_stack(
    keep: bool, out: Output, interrupts: Interrupts
) -> AsyncIterator[tuple[EmbeddedStack, Settings]]:
    """Removed afterwards with its processes and files, also when the demo fails or is interrupted, however often.
    `keep` leaves it there after a demo that ran to its end."""
    data_dir = Path(tempfile.mkdtemp(prefix="shardwise-demo-"))
    settings = load_settings(data_dir).model_copy(update={"shards": {}, "catalog_dsn": None, "read_model_dsn": None})
    stack = EmbeddedStack(data_dir, settings, out.progress)
    kept = False
    try:
        yield stack, settings
        kept = keep
    finally:
        interrupts.clean_up()
        if not kept:
            await stack.remove()
