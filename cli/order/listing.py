"""`order list`, from the read model."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.terminal.application import read_app
from cli.terminal.options import DataDir, Following, SessionFile
from cli.terminal.output import output, table, table_or
from cli.terminal.paging import After, Limit, with_next
from domain.orders import OrderStatus
from domain.timestamps import short_timestamp
from shardwise.orders.documents import OrderDocument
from shardwise.queries import LIMIT


def list_orders(
    customer: Annotated[str | None, typer.Option(metavar="ID", help="The customer's.  [default: any]")] = None,
    status: Annotated[list[OrderStatus] | None, typer.Option(help="Repeatable.  [default: any]")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Placed then or later: a day (by UTC) or an ISO time.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="TIME", help="Placed before that time, or on that day or before.")
    ] = None,
    day: Annotated[str | None, typer.Option(metavar="DAY", help="Counted to this day in `report sales`.")] = None,
    limit: Limit = LIMIT,
    after: After = None,
    consistency: Following = None,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> None:
    """List orders, newest first, from the read model, which follows the shards with a delay.

    An order that was refused before it had a row is shown by `order show` only. Which orders are `stuck`, only Temporal
    knows: exit code 3 if --status stuck is given and Temporal does not answer.
    """
    page = read_app(
        data_dir,
        lambda app: app.queries.orders(
            customer=customer,
            status=status or (),
            since=since,
            until=until,
            day=day,
            limit=limit,
            after=after,
            consistency=consistency,
        ),
        session,
        consistency,
    )
    columns = ("order", "status", "customer", "total", "placed", "shard")
    rows = table(
        columns, [_row(order) for order in page.orders], whole=("order", "customer", "placed"), words=("total", "shard")
    )
    output().result(page, with_next(table_or(rows, "no orders"), page.next))


def _row(order: OrderDocument) -> tuple[str, ...]:
    placed = short_timestamp(order.placed_at) if order.placed_at else ""
    total = f"{order.total} {order.currency}"
    return (
        order.order_id,
        f"{order.status}: {order.reason}" if order.reason else order.status,
        order.customer_id or "",
        total,
        placed,
        order.customer_shard or "",
    )
