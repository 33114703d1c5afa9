"""`import customers` and `import products`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.progress import MofNCompleteColumn, Progress

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.csv_file import read_csv
from cli.output import output
from domain.catalogue import (
    CUSTOMER_COLUMNS,
    PRODUCT_COLUMNS,
    Customer,
    Product,
    customer_of_row,
    product_of_row,
)
from shards.catalogue_import import Imported, import_customers, import_products
from shards.routing import Router
from stack.settings import Settings, load_settings

R = TypeVar("R")

CsvFile = Annotated[Path, typer.Argument(metavar="FILE.csv", show_default=False)]


def register(group: typer.Typer) -> None:
    group.command()(customers)
    group.command()(products)


def customers(file: CsvFile, data_dir: DataDir = None) -> None:
    """Register customers, each with an account and its opening balance. Safe to repeat.

    Columns: customer_id,name,email,currency,opening_balance
    """
    settings = load_settings(data_dir)
    started = time.monotonic()
    rows = read_csv(file, CUSTOMER_COLUMNS, customer_of_row, _customer_id)
    _report("customers", run_async(_import(settings, rows, import_customers)), started)


def products(file: CsvFile, data_dir: DataDir = None) -> None:
    """List products with their stock; the first import spreads the SKUs over the shards. Safe to repeat.

    Columns: sku,name,currency,unit_price,stock
    """
    settings = load_settings(data_dir)
    started = time.monotonic()
    rows = read_csv(file, PRODUCT_COLUMNS, product_of_row, _sku)
    _report("products", run_async(_import(settings, rows, import_products)), started)


def _customer_id(customer: Customer) -> str:
    return customer.customer_id


def _sku(product: Product) -> str:
    return product.sku


async def _import(
    settings: Settings,
    rows: Sequence[R],
    work: Callable[[Router, Sequence[R], Callable[[int], None]], Awaitable[Imported]],
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
        async with connected(settings, long_running=True) as to:
            return await work(to.router, rows, lambda done: progress.advance(bar, done))


def _report(noun: str, done: Imported, started: float) -> None:
    seconds = round(time.monotonic() - started, 3)
    document = {"total": done.total, "imported": done.imported, "unchanged": done.unchanged, "seconds": seconds}
    human = f"{done.total} {noun} in {seconds:.1f} s: {done.imported} imported, {done.unchanged} unchanged"
    output().result(document, human)
