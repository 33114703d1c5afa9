"""`import customers` and `import products`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import MofNCompleteColumn, Progress

from cli.terminal.application import call_app
from cli.terminal.options import DataDir, SessionFile
from cli.terminal.output import output
from domain.catalogue import (
    CUSTOMER_COLUMNS,
    PRODUCT_COLUMNS,
    Customer,
    Product,
    customer_of_row,
    product_of_row,
)
from shardwise.catalogue import Imported
from shardwise.files.csv_file import read_csv

R = TypeVar("R")

CsvFile = Annotated[Path, typer.Argument(metavar="FILE.csv", show_default=False)]


def register(group: typer.Typer) -> None:
    group.command()(customers)
    group.command()(products)


def customers(file: CsvFile, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Register customers, each with an account and its opening balance. Safe to repeat.

    Columns: customer_id,name,email,currency,opening_balance
    """
    started = time.monotonic()
    rows = read_csv(file, CUSTOMER_COLUMNS, customer_of_row, _customer_id)
    done = call_app(data_dir, lambda app: _with_bar(app.catalogue.import_customers, rows), session)
    _report("customers", done, started)


def products(file: CsvFile, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """List products with their stock; the first import spreads the SKUs over the shards. Safe to repeat.

    Columns: sku,name,currency,unit_price,stock
    """
    started = time.monotonic()
    rows = read_csv(file, PRODUCT_COLUMNS, product_of_row, _sku)
    done = call_app(data_dir, lambda app: _with_bar(app.catalogue.import_products, rows), session)
    _report("products", done, started)


def _customer_id(customer: Customer) -> str:
    return customer.customer_id


def _sku(product: Product) -> str:
    return product.sku


async def _with_bar(
    work: Callable[[Sequence[R], Callable[[int], None]], Awaitable[Imported]], rows: Sequence[R]
) -> Imported:
    console = output().stderr
    progress = Progress(
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with progress:
        bar = progress.add_task("importing", total=len(rows))
        return await work(rows, lambda done: progress.advance(bar, done))


def _report(noun: str, done: Imported, started: float) -> None:
    seconds = round(time.monotonic() - started, 3)
    document = {"total": done.total, "imported": done.imported, "unchanged": done.unchanged, "seconds": seconds}
    human = f"{done.total} {noun} in {seconds:.1f} s: {done.imported} imported, {done.unchanged} unchanged"
    output().result(document, human)
