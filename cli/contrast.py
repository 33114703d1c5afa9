"""`contrast`: the three protocols of a transfer and the two styles of an order, measured side by side in one run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.terminal.application import run_async
from cli.terminal.hints import hint_if_stack_is_down
from cli.terminal.options import DataDir
from cli.terminal.output import output, table
from contrast import facts, style_facts
from contrast.documents import ContrastDocument
from contrast.files import assert_can_write_between_markers, assert_writable, write_between_markers
from contrast.load import Load
from contrast.measure import QUICK, Size, contrasted
from domain.errors import InvalidInput
from stack.settings import load_settings

CONCURRENCIES_MAX = 8
AT_ONCE_MAX = 1_000


def register(app: typer.Typer) -> None:
    app.command()(contrast)


def contrast(
    concurrency: Annotated[str, typer.Option(help="Transfers at once: numbers separated by commas.")] = "1,8,32",
    transfers: Annotated[int, typer.Option(min=2, max=100_000, help="How many in each cell and round.")] = 64,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often the whole load is repeated.")] = 2,
    quick: Annotated[bool, typer.Option("--quick", help="Takes seconds. Its figures say little.")] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Draws the picture PATH.svg and PATH.png. Needs shardwise[plots]."),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Writes the tables, between the file's markers if it exists."),
    ] = None,
    data_dir: DataDir = None,
) -> int:
    """Contrast local transactions, sagas and two-phase commit: speed, locks, and what others see in the middle. And
    orders that a workflow orchestrates with those that reactors carry on.

    Runs against the stack that is up, on accounts, products and orders of its own. They stay, as any, but no list or
    report shows them: their ids end with `.shardwise-contrast`, as no other order, customer or product may. It pauses
    transfers on purpose, two-phase ones with their locks: not for an installation that has work to do. Exit code 1 if
    one is not settled in the end.
    """
    draw = _drawing_to(plot) if plot is not None else None
    if markdown is not None:
        assert_can_write_between_markers(markdown)
    size = QUICK if quick else Size(Load(_concurrencies(concurrency), transfers, rounds), 20, 1000, transfers)
    out, settings = output(), load_settings(data_dir)
    with hint_if_stack_is_down(settings):
        document = run_async(contrasted(settings, size, out.progress))
    files = draw(document) if draw is not None else []
    if markdown is not None:
        write_between_markers(markdown, f"{facts.markdown(document)}\n{style_facts.markdown(document)}")
        files.append(markdown)
    out.result(document, _page(document, files))
    return 0 if document.ok else 1


def _drawing_to(path: Path) -> Callable[[ContrastDocument], list[Path]]:
    """Loads matplotlib now, so that nothing is measured in vain. `InvalidInput` if it is not installed, or nothing can
    be written there."""
    try:
        from contrast.plot import write_plot
    except ImportError as error:
        message = f"plot: a picture needs matplotlib ({error}): pip install 'shardwise[plots]', or leave --plot out"
        raise InvalidInput("plot", message) from error
    assert_writable("plot", path)
    return lambda document: write_plot(document, path)


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


def _page(document: ContrastDocument, files: list[Path]) -> RenderableType:
    parts: list[RenderableType] = [
        table(facts.COLUMNS, facts.rows(document)),
        f"{facts.finding(document)}.",
        table(style_facts.COLUMNS, style_facts.rows(document)),
        f"{style_facts.finding(document)}.",
        f"measured in {document.seconds:.0f} s",
    ]
    if files:
        parts.append(f"written: {', '.join(str(file) for file in files)}")
    if not document.ok:
        parts.append("NOT every paused transfer was settled: see `shardwise verify`")
    return Group(*parts)
