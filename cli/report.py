"""`report sales`, from the read model, and `report balances`, from the shards."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table, table_or
from cli.terminal.paging import After, Limit, with_next
from domain.timestamps import short_timestamp
from shardwise.queries import SalesBy, SalesReport
from shardwise.reports import LIMIT, SHARD_SECONDS, BalancesReport

_COLUMNS = ("day", "sku", "product_name", "orders", "units", "amount", "currency")
# The columns over which the rows are summed.
_LEFT_OUT = {SalesBy.PRODUCT: {"day"}, SalesBy.DAY: {"sku", "product_name"}, SalesBy.PRODUCT_DAY: set[str]()}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Reports: what was sold, and who has how much.", no_args_is_help=True)
    group.command()(sales)
    group.command()(balances)
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


def balances(
    limit: Limit = LIMIT,
    after: After = None,
    shard_timeout: Annotated[float, typer.Option(metavar="SECONDS", help="For each shard.")] = SHARD_SECONDS,
    partial: Annotated[bool, typer.Option("--partial", help="Without the shards that do not answer.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show who has how much: totals by currency with what is in flight, and all accounts by id.

    From the shards themselves, each at one instant; no instant is common to them. In each currency customers +
    merchants + in flight = paid in, to the cent.

    Exit code 3 if a shard does not answer. With --partial the others' report, which names who is missing.
    """
    report = call_app(data_dir, lambda app: app.reports.balances(limit, after, shard_timeout, partial))
    for missing in report.missing:
        output().progress(f"without {missing.shard}: {missing.why}")
    output().result(report, _balances(report))


def _balances(report: BalancesReport) -> Group:
    clearing = "in clearing" if report.missing else "in flight"
    columns = ("currency", "accounts", "customers", "held", "merchants", clearing, "paid in")
    totals = [
        (
            each.currency,
            str(each.accounts),
            each.customers.amount,
            each.held.amount,
            each.merchants.amount,
            each.clearing.amount,
            each.paid_in.amount,
        )
        for each in report.totals
    ]
    accounts = [
        (each.account_id, each.balance.amount, each.held.amount, each.currency, each.state, each.shard)
        for each in report.accounts
    ]
    listed = table_or(table(("account", "balance", "held", "currency", "state", "shard"), accounts), "no accounts")
    when = [f"{shard} as of {short_timestamp(at)}" for shard, at in report.as_of.items()]
    away = [f"{each.shard} is missing" for each in report.missing]
    return Group(
        *([table(columns, totals)] if totals else []), with_next(listed, report.next), ", ".join([*when, *away])
    )
