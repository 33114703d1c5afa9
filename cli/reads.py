"""`reads bench`: how reads spread over primaries and replicas."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from cli.terminal.progress import progress_shown
from domain.balancing import Balancing
from domain.consistency import Level
from shardwise import Shardwise
from shardwise.operations.reads_bench import CONCURRENCY_MAX, READS_MAX, ReadsBenchDocument, ServerReads

_COLUMNS = ("shard", "server", "weight", "reads", "share", "expected", "p50 ms", "p99 ms")


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Reads, and which servers answer them.", no_args_is_help=True)
    group.command()(bench)
    app.add_typer(group, name="reads")


def bench(
    reads: Annotated[int, typer.Option(min=1, max=READS_MAX, help="How many.")] = 10_000,
    concurrency: Annotated[int, typer.Option(min=1, max=CONCURRENCY_MAX, help="How many at once.")] = 8,
    consistency: Annotated[Level, typer.Option(help="What each must show.")] = Level.EVENTUAL,
    balancing: Annotated[
        Balancing | None,
        typer.Option(help="Which replica takes the next read.  [default: SHARDWISE_BALANCING, else weighted]"),
    ] = None,
    shard: Annotated[
        str | None, typer.Option(metavar="NAME", help="Only rows of this shard.", show_default=False)
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Read products again and again, or accounts where there are no products, and show which server answered how many
    of the reads, and how fast. Changes nothing.

    A share is one of the reads of its shard. `expected` is what balancer and weights give if all replicas are fit.
    """

    async def measured(app: Shardwise) -> ReadsBenchDocument:
        async with progress_shown(output()) as progress:
            return await app.operations.bench_reads(reads, concurrency, consistency, balancing, shard, progress)

    found = call_app(data_dir, measured)
    output().result(found, _rendered(found))


def _rendered(found: ReadsBenchDocument) -> RenderableType:
    line = (
        f"{found.reads:,} reads of {found.keys:,} {found.rows} in {found.seconds:.1f} s, {found.concurrency} at once, "
        f"{found.consistency}, {found.balancing}; {found.waited:,} waited"
    )
    return Group(table(_COLUMNS, [_row(each) for each in found.servers], whole=("server",)), line)


def _row(server: ServerReads) -> tuple[str, ...]:
    weight = str(server.weight) if server.weight is not None else ""
    expected = f"{server.expected_share:.1%}" if server.expected_share is not None else ""
    p50, p99 = (f"{each:.2f}" if each is not None else "" for each in (server.p50_ms, server.p99_ms))
    return server.shard, server.server, weight, f"{server.reads:,}", f"{server.share:.1%}", expected, p50, p99
