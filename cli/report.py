"""`report sales`, from the read model."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer
from rich.console import Group

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import listed, output, table
from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.money import Money
from domain.periods import parse_day
from shards.queries.sales import Sales, SalesBy, SalesFilter, report_sales
from stack.settings import Settings, load_settings

_COLUMNS = ("day", "sku", "product_name", "orders", "units", "amount", "currency")
# What is added up has no value.
_LEFT_OUT = {SalesBy.PRODUCT: {"day"}, SalesBy.DAY: {"sku", "product_name"}, SalesBy.PRODUCT_DAY: set[str]()}


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Reports of what happened.", no_args_is_help=True)
    group.command()(sales)
    app.add_typer(group, name="report")


def sales(
    first_day: Annotated[str | None, typer.Option("--from", metavar="DAY", help="The first day of it.")] = None,
    last_day: Annotated[str | None, typer.Option("--to", metavar="DAY", help="The last day of it.")] = None,
    sku: Annotated[str | None, typer.Option(metavar="SKU", help="Of this product only.")] = None,
    by: Annotated[SalesBy, typer.Option(help="What is told on its own.")] = SalesBy.PRODUCT,
    data_dir: DataDir = None,
) -> None:
    """Show what was sold: orders, units and amounts of what was confirmed. By the day of the order.

    An order counts to the day that it says it was ordered on, else to the day it was placed, by UTC. From the read
    model, which follows the shards with a delay.
    """
    wanted = _filter(first_day, last_day, sku)
    found = run_async(_read(load_settings(data_dir), wanted, by))
    rows = [_row(each) for each in found]
    totals = [{"currency": each.currency, "amount": each.amount} for each in _totals(found)]
    document = {
        "by": by,
        "from": _written(wanted.first_day),
        "to": _written(wanted.last_day),
        "sku": wanted.sku,
        "sales": rows,
        "totals": totals,
    }
    output().result(document, _told(rows, totals, by))


def _filter(first_day: str | None, last_day: str | None, sku: str | None) -> SalesFilter:
    first = parse_day(first_day, "from") if first_day is not None else None
    last = parse_day(last_day, "to") if last_day is not None else None
    if first is not None and last is not None and last < first:
        raise InvalidInput("to", f"to: expected no day before {first}, got {last}")
    return SalesFilter(first, last, check_identifier(sku, "sku") if sku is not None else None)


async def _read(settings: Settings, wanted: SalesFilter, by: SalesBy) -> list[Sales]:
    # A report of years may take longer than any page.
    async with connected(settings, long_running=True) as to:
        return await to.read_model.ask(lambda connection: report_sales(connection, wanted, by))


def _totals(found: list[Sales]) -> list[Money]:
    """One for each currency."""
    totals: dict[str, Money] = {}
    for each in found:
        currency = each.amount.currency
        totals[currency] = totals.get(currency, Money.zero(currency)) + each.amount
    return [totals[currency] for currency in sorted(totals)]


def _row(sold: Sales) -> dict[str, str | int | None]:
    return {
        "day": _written(sold.day),
        "sku": sold.sku,
        "product_name": sold.product_name,
        "orders": sold.orders,
        "units": sold.units,
        "amount": sold.amount.amount,
        "currency": sold.amount.currency,
    }


def _written(day: date | None) -> str | None:
    return day.isoformat() if day is not None else None


def _told(rows: list[dict[str, str | int | None]], totals: list[dict[str, str]], by: SalesBy) -> Group:
    shown = [name for name in _COLUMNS if name not in _LEFT_OUT[by]]
    human = table(
        [name.replace("_", " ") for name in shown],
        [tuple(str(row[name]) for name in shown) for row in rows],
        whole=("sku", "day"),
    )
    return Group(listed(human, "nothing was sold"), *(f"total {each['amount']} {each['currency']}" for each in totals))
