"""`order place | show | details | trace | cancel | retry | list`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.order.details import details
from cli.order.listing import list_orders
from cli.order.trace import trace
from cli.terminal.application import call_app, read_app
from cli.terminal.options import DataDir, SessionFile, Strong, StyleOption
from cli.terminal.output import output, table
from domain.catalogue import whole_number
from domain.errors import InvalidInput
from domain.identifiers import check_identifier, shown
from domain.orders import OrderStatus, Style
from shardwise.orders.documents import OrderDocument, why_of
from shardwise.orders.service import GivenLine

OrderId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for the end.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Orders: durable, whatever is killed meanwhile.", no_args_is_help=True)
    for command in (place, show, details, trace, cancel, retry):
        group.command()(command)
    group.command("list")(list_orders)
    app.add_typer(group, name="order")


def place(
    customer: Annotated[str, typer.Option(metavar="ID", show_default=False)],
    line: Annotated[
        list[str],
        typer.Option(metavar="SKU:QTY[@PRICE]", help="Repeatable; PRICE is an agreed one.", show_default=False),
    ],
    order_id: Annotated[str | None, typer.Option("--id", help="Makes it safe to repeat.  [default: a new one]")] = None,
    currency: Annotated[str | None, typer.Option(help="ISO 4217.  [default: the customer's]")] = None,
    style: StyleOption = Style.ORCHESTRATED,
    wait: Wait = 30.0,
    session: SessionFile = None,
    data_dir: DataDir = None,
) -> int:
    """Place an order and wait for its end.

    Exit code 0 when confirmed, 1 when refused or cancelled, 3 when not final in time: it goes on by itself.
    """
    if order_id is not None:
        check_identifier(order_id, "id")
    check_identifier(customer, "customer")
    lines = [_split(each) for each in line]
    say = output().progress
    placed = call_app(
        data_dir, lambda app: app.orders.place(customer, lines, order_id, currency, style, wait, say), session
    )
    _print(placed)
    if not placed.is_final:
        return 3
    return 0 if placed.status is OrderStatus.CONFIRMED else 1


def show(order_id: OrderId, consistency: Strong = None, session: SessionFile = None, data_dir: DataDir = None) -> None:
    """Show an order and its status."""
    _print(read_app(data_dir, lambda app: app.orders.show(order_id, consistency), session, consistency))


def cancel(order_id: OrderId, wait: Wait = 30.0, session: SessionFile = None, data_dir: DataDir = None) -> int:
    """Cancel an order that is not decided yet.

    Exit code 0 when it is cancelled, 1 when it was confirmed or rejected before, 3 when it is not decided yet.
    """
    now = call_app(data_dir, lambda app: app.orders.cancel(order_id, wait), session)
    code = 0 if now.status is OrderStatus.CANCELLED else 1 if now.is_final else 3
    # The cancel did not happen: that is printed first.
    if code == 1:
        output().progress(f"order {order_id} is {now.status}: it cannot be cancelled any more")
    if code == 3:
        output().progress(f"order {order_id} is {now.status}: whether it can be cancelled is not decided yet")
    _print(now)
    return code


def retry(order_id: OrderId, wait: Wait = 30.0, session: SessionFile = None, data_dir: DataDir = None) -> int:
    """Have the steps that an order waits for tried again at once.

    Exit code 0 when its workflow took the request, or when the order is final and nothing waits, which is printed; 3
    when no workflow took it.
    """
    now, taken = call_app(data_dir, lambda app: app.orders.retry(order_id, wait), session)
    if not taken and now.is_final:
        output().progress(f"order {order_id} is final, it ended as {now.status}: nothing waits, nothing is tried again")
    elif not taken:
        output().progress(f"order {order_id} is {now.status}, and no workflow works on it")
    _print(now)
    return 0 if taken or now.is_final else 3


def _split(line: str) -> GivenLine:
    sku, colon, rest = line.partition(":")
    quantity, at, price = rest.partition("@")
    if not colon or (at and not price):
        raise InvalidInput("line", f"line: expected SKU:QTY or SKU:QTY@PRICE, got {shown(line)}")
    return check_identifier(sku, "line"), whole_number(quantity, "line", at_least=1), price or None


def _print(order: OrderDocument) -> None:
    lines = [(line.sku, str(line.quantity), line.unit_price or "") for line in order.lines]
    about = [order.customer_id or "", _money(order), f"on {order.customer_shard}" if order.customer_shard else ""]
    if order.style is not Style.ORCHESTRATED:
        about.append(str(order.style))
    parts: list[RenderableType] = [
        f"order {order.order_id} is {order.status}{why_of(order.status, order.reason, order.detail)}",
        ", ".join(each for each in about if each),
        *([f"waits for: {order.waits_for}"] if order.waits_for else []),
        table(("sku", "quantity", "unit price"), lines),
    ]
    output().result(order, Group(*parts))


def _money(order: OrderDocument) -> str:
    return f"{order.total} {order.currency}" if order.total is not None else ""
