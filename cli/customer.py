"""`customer rename`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.output import output, table
from domain.catalogue import check_name
from domain.identifiers import check_identifier
from shards.renames import NamedCustomer, rename_customer
from stack.settings import Settings, load_settings


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Customers. `import customers` and `account open` register them.", no_args_is_help=True)
    group.command()(rename)
    app.add_typer(group, name="customer")


def rename(
    customer_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    name: Annotated[str, typer.Option(help="The new one.", show_default=False)],
    email: Annotated[str | None, typer.Option(help="The new one.  [default: it stays]")] = None,
    data_dir: DataDir = None,
) -> None:
    """Give a customer another name. Its id stays. Safe to repeat.

    An import goes on comparing with what the customer was first imported with.
    """
    check_identifier(customer_id, "customer_id")
    check_name(name, "name")
    if email is not None:
        check_name(email, "email")
    renamed = run_async(_rename(load_settings(data_dir), customer_id, name, email))
    row = (renamed.customer_id, renamed.name, renamed.email or "", str(renamed.version), renamed.shard)
    output().result(asdict(renamed), table(("customer", "name", "email", "version", "shard"), [row]))


async def _rename(settings: Settings, customer_id: str, name: str, email: str | None) -> NamedCustomer:
    async with connected(settings) as to:
        return await rename_customer(to.router, customer_id, name, email)
