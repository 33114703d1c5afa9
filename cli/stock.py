"""`stock show | list | receive`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, Following, SessionFile, Strong
from cli.terminal.output import output, table, table_or
from cli.terminal.paging import After, Limit, with_next
from cli.terminal.usage import TakesNumbers
from domain.catalogue import whole_number
from domain.identifiers import check_identifier
from shardwise.catalogue import StockLevel, StockReceipt, new_receipt_id
from shardwise.queries import LIMIT

Sku = Annotated[str, typer.Argument(metavar="SKU", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Stock of products.", no_args_is_help=True)
    group.command()(show)
    group.command("list")(list_levels)
    group.command(cls=TakesNumbers)(receive)
    app.add_typer(group, name="stock")


def show(sku: Sku, consistency: Strong = None, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Show how much is on hand, reserved for orders, and available."""
    _print(read_app(data_dir, lambda app: app.catalogue.stock(sku, consistency), session, consistency))


def list_levels(
    limit: Limit = LIMIT,
    after: After = None,
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """List the stock of all products by SKU, from the read model, which follows the shards with a delay."""
    page = read_app(data_dir, lambda app: app.queries.stock(limit, after, consistency), session, consistency)
    columns = ("sku", "product", "on hand", "reserved", "available", "shard")
    rows = [(x.sku, x.product_name, str(x.on_hand), str(x.reserved), str(x.available), x.shard) for x in page.stock]
    output().result(page, with_next(table_or(table(columns, rows), "no products"), page.next))


def receive(
    sku: Sku,
    quantity: Annotated[str, typer.Argument(metavar="QTY")],
    receipt_id: Annotated[
        str | None, typer.Option("--id", help="Names this receipt, so that it counts once however often it is sent.")
    ] = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Add goods that came in."""
    check_identifier(sku, "sku")
    received = whole_number(quantity, "quantity", at_least=1)
    chosen = new_receipt_id() if receipt_id is None else check_identifier(receipt_id, "id")
    if receipt_id is None:
        # Printed before it is used: if the answer is lost, only a repeat under the same id is safe.
        output().progress(f"receipt {chosen}")
    _print(call_app(data_dir, lambda app: app.catalogue.receive(sku, received, chosen), session))


def _print(level: StockLevel | StockReceipt) -> None:
    row = (level.sku, str(level.on_hand), str(level.reserved), str(level.available), level.shard)
    output().result(level, table(("sku", "on hand", "reserved", "available", "shard"), [row]))
