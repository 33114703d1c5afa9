"""`customer rename`."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import call_app
from cli.terminal.options import DataDir, SessionFile
from cli.terminal.output import output, table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Customers. `import customers` and `account open` register them.", no_args_is_help=True)
    group.command()(rename)
    app.add_typer(group, name="customer")


def rename(
    customer_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    name: Annotated[str, typer.Option(help="The new one.", show_default=False)],
    email: Annotated[str | None, typer.Option(help="The new one.  [default: it stays]")] = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Give a customer another name: the same as `profile set --name`. Its id stays. Safe to repeat.

    An import goes on comparing with what the customer was first imported with.
    """
    renamed = call_app(data_dir, lambda app: app.catalogue.rename_customer(customer_id, name, email), session)
    row = (renamed.customer_id, renamed.name, renamed.email or "", str(renamed.version), renamed.shard)
    output().result(renamed, table(("customer", "name", "email", "version", "shard"), [row]))
