"""`report sales`, from the read model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from cli.terminal.application import read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table, table_or
from shardwise.queries import SalesBy, SalesReport

_COLUMNS = ("day", "sku", "product_name", "orders", "units", "amount", "currency")
# The columns over which the rows are summed.
_LEFT_OUT = {SalesBy.PRODUCT: {"day"}, SalesBy.DAY: {"sku", "product_name"}, SalesBy.PRODUCT_DAY: set[str]()}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Reports of what happened.", no_args_is_help=True)
    group.command()(sales)
    app.add_typer(group, name="report")


def sales(
    first_day: Annotated[str | None, typer.Option("--from", metavar="DAY", help="The first day of it.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day of it.")] = None,
    sku: Annotated[str | None, typer.Option(metavar="SKU", help="Of this product only.")] = None,
    by: Annotated[SalesBy, typer.Option(help="What each row is for.")] = SalesBy.PRODUCT,
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show what was sold: orders, units and amounts of what was confirmed. By the day of the order.

    An order counts to the day that it says it was ordered on, else to the day it was placed, by UTC. From the read
    model, which follows the shards with a delay.
    """
    report = read_app(
        data_dir, lambda app: app.queries.sales(first_day, last_day, sku, by, consistency), session, consistency
    )
    output().result(report, _rendered(report))


def _rendered(report: SalesReport) -> Group:
    shown = [name for name in _COLUMNS if name not in _LEFT_OUT[report.by]]
    cells = [
        {
            "day": str(each.day),
            "sku": str(each.sku),
            "product_name": str(each.product_name),
            "orders": str(each.orders),
            "units": str(each.units),
            "amount": each.amount.amount,
            "currency": each.currency,
        }
        for each in report.sales
    ]
    rows = [tuple(each[name] for name in shown) for each in cells]
    human = table([name.replace("_", " ") for name in shown], rows, whole=("sku", "day"))
    return Group(table_or(human, "nothing was sold"), *(f"total {each.amount}" for each in report.totals))
