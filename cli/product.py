"""`product rename`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import output, table
from domain.catalogue import check_name
from domain.identifiers import check_identifier
from shards.renames import NamedProduct, rename_product
from stack.settings import Settings, load_settings


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
    check_identifier(sku, "sku")
    check_name(name, "name")
    renamed = run_async(_rename(load_settings(data_dir), sku, name))
    row = (renamed.sku, renamed.name, str(renamed.version), renamed.shard)
    output().result(asdict(renamed), table(("sku", "name", "version", "shard"), [row]))


async def _rename(settings: Settings, sku: str, name: str) -> NamedProduct:
    async with connected(settings) as to:
        return await rename_product(to.router, sku, name)
