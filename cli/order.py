"""`order place | show | details | trace | cancel | retry | list`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Group, RenderableType

from cli.common import DataDir, StyleOption, new_id, run_async
from cli.connections import connected
from cli.order_desk import OrderDesk
from cli.order_details import details
from cli.order_documents import OrderDocument, why_of
from cli.order_list import list_orders
from cli.order_trace import trace
from cli.output import output, table
from domain.catalogue import whole_number
from domain.errors import InvalidInput, Unreachable
from domain.identifiers import check_identifier, shown
from domain.money import Money, check_amount, check_currency
from domain.orders import Order, OrderLine, OrderStatus, Style, check_order, merge_lines
from stack.settings import Settings, load_settings

CURRENCY_OF_UNKNOWN_CUSTOMERS = "USD"
NO_WORKER = "no worker polls for orders: this one waits for one (`shardwise up` or `shardwise worker`)"

OrderId = Annotated[str, typer.Argument(metavar="ID", show_default=False)]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="SECONDS", help="How long to wait for the end.")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An order as it is typed."""

    order_id: str
    customer: str
    lines: Sequence[str]
    currency: str | None
    style: Style


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
    data_dir: DataDir = None,
) -> int:
    """Place an order and wait for how it ends.

    Exit code 0 when confirmed, 1 when refused or cancelled, 3 when not final in time: it goes on by itself.
    """
    wanted = Wanted(new_id() if order_id is None else order_id, customer, line, currency, style)
    placed = run_async(_place(load_settings(data_dir), wanted, wait))
    _print(placed)
    if not placed.is_final:
        return 3
    return 0 if placed.status is OrderStatus.CONFIRMED else 1


def show(order_id: OrderId, data_dir: DataDir = None) -> None:
    """Show an order and how it stands."""
    _print(run_async(_show(load_settings(data_dir), order_id)))


def cancel(order_id: OrderId, wait: Wait = 30.0, data_dir: DataDir = None) -> int:
    """Cancel an order that is not decided yet.

    Exit code 0 when it is cancelled, 1 when it was confirmed or rejected before, 3 when that is open still.
    """
    now = run_async(_cancel(load_settings(data_dir), order_id, wait))
    _print(now)
    if now.status is OrderStatus.CANCELLED:
        return 0
    if now.is_final:
        output().progress(f"order {order_id} is {now.status}: it cannot be cancelled any more")
        return 1
    output().progress(f"order {order_id} is {now.status}: whether it can be cancelled is not decided yet")
    return 3


def retry(order_id: OrderId, wait: Wait = 30.0, data_dir: DataDir = None) -> int:
    """Have the steps that an order waits for tried again at once.

    Exit code 0 when its workflow was told, or when the order is final and nothing waits, which is said; 3 when no
    workflow took it.
    """
    now, taken = run_async(_retry(load_settings(data_dir), order_id, wait))
    _print(now)
    if taken:
        return 0
    if now.is_final:
        output().progress(f"order {order_id} is final, it ended as {now.status}: nothing waits, nothing is tried again")
        return 0
    output().progress(f"order {order_id} is {now.status}, and no workflow works on it")
    return 3


async def _place(settings: Settings, wanted: Wanted, wait: float) -> OrderDocument:
    check_identifier(wanted.order_id, "id")
    check_identifier(wanted.customer, "customer")
    split = [_split(line) for line in wanted.lines]
    if wanted.currency is not None:
        check_currency(wanted.currency)
    async with connected(settings) as to:
        desk = OrderDesk(to, settings)
        currency = wanted.currency or await _currency_of(desk, wanted.customer)
        lines = merge_lines([_line_of(*each, currency) for each in split])
        order = check_order(Order(wanted.order_id, wanted.customer, currency, lines, style=wanted.style))
        if not await desk.has_worker(order.style):
            output().progress(NO_WORKER)
        return await desk.place(order, wait)


async def _currency_of(desk: OrderDesk, customer: str) -> str:
    try:
        return await desk.currency_of(customer) or CURRENCY_OF_UNKNOWN_CUSTOMERS
    except Unreachable as error:
        message = f"{error.message}; nothing was placed (with --currency it would be, and wait)"
        raise Unreachable(error.code, message) from error


async def _show(settings: Settings, order_id: str) -> OrderDocument:
    async with connected(settings) as to:
        return await OrderDesk(to, settings).show(order_id)


async def _cancel(settings: Settings, order_id: str, wait: float) -> OrderDocument:
    async with connected(settings) as to:
        return await OrderDesk(to, settings).cancel(order_id, wait)


async def _retry(settings: Settings, order_id: str, wait: float) -> tuple[OrderDocument, bool]:
    async with connected(settings) as to:
        return await OrderDesk(to, settings).retry(order_id, wait)


def _split(line: str) -> tuple[str, int, str | None]:
    sku, colon, rest = line.partition(":")
    quantity, at, price = rest.partition("@")
    if not colon or (at and not price):
        raise InvalidInput("line", f"line: expected SKU:QTY or SKU:QTY@PRICE, got {shown(line)}")
    return check_identifier(sku, "line"), whole_number(quantity, "line", at_least=1), price or None


def _line_of(sku: str, quantity: int, price: str | None, currency: str) -> OrderLine:
    agreed = check_amount(Money.parse(price, currency, "line"), "line") if price is not None else None
    return OrderLine(sku, quantity, agreed)


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
