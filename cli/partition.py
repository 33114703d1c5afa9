"""`partition SHARD --for SECONDS`."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated

import typer

from cli.terminal.application import call_app
from cli.terminal.interrupts import Interrupts
from cli.terminal.options import DataDir
from cli.terminal.output import output
from cli.terminal.progress import progress_shown
from shardwise import Shardwise
from shardwise.operations.partition import PartitionDocument


def register(app: typer.Typer) -> None:
    app.command()(partition)


def partition(
    shard: Annotated[str, typer.Argument(metavar="SHARD", show_default=False)],
    seconds: Annotated[float, typer.Option("--for", metavar="SECONDS", help="Until it is healed.")] = 10.0,
    data_dir: DataDir = None,
) -> None:
    """Cut a shard of the embedded stack off from its clients, and heal it. Nothing is lost.

    Its server and its replicas live on, and nobody can reach its primary: orders and transfers of that shard wait,
    others go on. Ctrl-C heals it at once, and so do `up` and `down`. If this command is killed, it is healed when the
    time is up.
    """
    out = output()

    async def cut_off(app: Shardwise) -> PartitionDocument:
        interrupts = Interrupts()
        async with progress_shown(out) as report:

            def left(still: float) -> None:
                report(f"{shard} is cut off, seconds", math.floor(seconds - still), math.ceil(seconds))

            try:
                return await app.operations.partition(shard, seconds, left)
            except asyncio.CancelledError as cancelled:
                raise interrupts.as_error() or cancelled from None

    done = call_app(data_dir, cut_off)
    out.result(done, f"{done.shard} was cut off for {done.seconds:g} s, and is reachable again")
