"""`product rename`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app
from cli.terminal.options import DataDir
from cli.terminal.output import output, table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Products of the catalogue. `import products` lists them.", no_args_is_help=True)
    group.command()(rename)
    app.add_typer(group, name="product")


def rename(
    sku: Annotated[str, typer.Argument(metavar="SKU", show_default=False)],
    name: Annotated[str, typer.Option(help="The new one.", show_default=False)],
    data_dir: DataDir = None,
) -> None:
    """Give a product another name. Its SKU stays. Safe to repeat.

    An import goes on comparing with what the product was first imported with.
    """
    renamed = call_app(data_dir, lambda app: app.catalogue.rename_product(sku, name))
    row = (renamed.sku, renamed.name, str(renamed.version), renamed.shard)
    output().result(renamed, table(("sku", "name", "version", "shard"), [row]))
