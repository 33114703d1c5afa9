"""`product show | list | rename`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table, table_or
from cli.terminal.paging import After, Limit, with_next
from shardwise.catalogue import ListedProduct
from shardwise.queries import LIMIT

_COLUMNS = ("sku", "name", "price", "currency", "version", "shard")
Sku = Annotated[str, typer.Argument(metavar="SKU", show_default=False)]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Products of the catalogue. `import products` lists them.", no_args_is_help=True)
    group.command()(show)
    group.command("list")(list_products)
    group.command()(rename)
    app.add_typer(group, name="product")


def show(sku: Sku, consistency: Following = None, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Show a product's name and price, from a replica of its shard if there is one. `stock show` shows its stock."""
    product = read_app(data_dir, lambda app: app.catalogue.product(sku, consistency), session, consistency)
    output().result(product, table(_COLUMNS, [_row(product)]))


def list_products(
    limit: Limit = LIMIT,
    after: After = None,
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """List all products by SKU, from the read model, which follows the shards with a delay."""
    page = read_app(data_dir, lambda app: app.queries.products(limit, after, consistency), session, consistency)
    rows = table(_COLUMNS, [_row(product) for product in page.products])
    output().result(page, with_next(table_or(rows, "no products"), page.next))


def rename(
    sku: Sku,
    name: Annotated[str, typer.Option(help="The new one.", show_default=False)],
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Give a product another name. Its SKU stays. Safe to repeat.

    An import goes on comparing with what the product was first imported with.
    """
    renamed = call_app(data_dir, lambda app: app.catalogue.rename_product(sku, name), session)
    row = (renamed.sku, renamed.name, str(renamed.version), renamed.shard)
    output().result(renamed, table(("sku", "name", "version", "shard"), [row]))


def _row(product: ListedProduct) -> tuple[str, ...]:
    price = product.unit_price.amount
    return product.sku, product.name, price, product.currency, str(product.version), product.shard
