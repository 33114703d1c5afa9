"""`order details`: one order with its customer and its products, from the read model."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group

from cli.terminal.application import read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table
from domain.timestamps import short_timestamp
from shardwise.orders.documents import why_of
from shardwise.queries import OrderDetails


def details(
    order_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)],
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show everything about an order, from the read model, which follows the shards with a delay.

    Exit code 1 if it has no such order, or not yet: `order show` reads the shards.
    """
    order = read_app(data_dir, lambda app: app.queries.order_details(order_id, consistency), session, consistency)
    output().result(order, _rendered(order))


def _rendered(order: OrderDetails) -> Group:
    why = why_of(order.status, order.reason, order.detail)
    customer = order.customer
    email = f" <{customer.email}>" if customer.email else ""
    named = f"{customer.name}{email} ({customer.customer_id})"
    times = {"placed": order.placed_at, "decided": order.decided_at, "closed": order.closed_at}
    when = [f"{name} {short_timestamp(at)}" for name, at in times.items() if at is not None]
    items = [(x.product_name, x.sku, str(x.quantity), x.unit_price.amount, x.amount.amount) for x in order.items]
    return Group(
        f"order {order.order_id} is {order.status}{why}",
        f"{named}, on {order.customer_shard}, {order.style}, version {order.version}",
        ", ".join(when),
        table(("product", "sku", "quantity", "unit price", "amount"), items, whole=("sku",)),
        f"total {order.total}",
    )
