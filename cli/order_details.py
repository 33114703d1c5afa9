"""`order details`: one order with its customer and its products, from the read model."""

from __future__ import annotations

from datetime import date
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Group

from cli.common import DataDir, run_async
from cli.connections import connected
from cli.order_documents import why_of
from cli.output import output, table
from domain.identifiers import check_identifier
from domain.orders import OrderStatus
from domain.sagas import Reason
from domain.timestamps import Timestamp, short_timestamp
from shards.queries.order_details import OrderDetails, read_order_details
from stack.settings import Settings, load_settings


class CustomerDocument(BaseModel):
    customer_id: str
    name: str
    email: str | None


class ItemDocument(BaseModel):
    """`product_name` is the SKU until the product's name has come."""

    sku: str
    product_name: str
    quantity: int
    unit_price: str
    amount: str


class OrderDetailsDocument(BaseModel):
    """Amounts are decimal strings in the order's currency. `day` is the one that sales count it to. `version` grows
    with each change of the order."""

    order_id: str
    status: OrderStatus
    style: str
    reason: Reason | None
    detail: str | None
    customer: CustomerDocument
    customer_shard: str
    currency: str
    total: str
    items: list[ItemDocument]
    ship_to: dict[str, str | None] | None
    day: date
    placed_at: Timestamp
    decided_at: Timestamp | None
    closed_at: Timestamp | None
    version: int


def details(
    order_id: Annotated[str, typer.Argument(metavar="ID", show_default=False)], data_dir: DataDir = None
) -> None:
    """Show all there is about an order, from the read model, which follows the shards with a delay.

    Exit code 1 where it has no such order, or not yet: `order show` asks the shards.
    """
    check_identifier(order_id, "order_id")
    document = _document(run_async(_read(load_settings(data_dir), order_id)))
    output().result(document, _told(document))


async def _read(settings: Settings, order_id: str) -> OrderDetails:
    async with connected(settings) as to:
        return await to.read_model.ask(lambda connection: read_order_details(connection, order_id))


def _document(order: OrderDetails) -> OrderDetailsDocument:
    return OrderDetailsDocument(
        order_id=order.order_id,
        status=order.status,
        style=order.style,
        reason=order.reason,
        detail=order.detail,
        customer=CustomerDocument(customer_id=order.customer_id, name=order.customer_name, email=order.customer_email),
        customer_shard=order.shard,
        currency=order.total.currency,
        total=order.total.amount,
        items=[
            ItemDocument(
                sku=item.sku,
                product_name=item.product_name,
                quantity=item.quantity,
                unit_price=item.unit_price.amount,
                amount=item.amount.amount,
            )
            for item in order.items
        ],
        ship_to=order.ship_to,
        day=order.day,
        placed_at=order.placed_at,
        decided_at=order.decided_at,
        closed_at=order.closed_at,
        version=order.version,
    )


def _told(order: OrderDetailsDocument) -> Group:
    why = why_of(order.status, order.reason, order.detail)
    who = order.customer
    email = f" <{who.email}>" if who.email else ""
    times = {"placed": order.placed_at, "decided": order.decided_at, "closed": order.closed_at}
    when = [f"{name} {short_timestamp(at)}" for name, at in times.items() if at is not None]
    items = [(x.product_name, x.sku, str(x.quantity), x.unit_price, x.amount) for x in order.items]
    return Group(
        f"order {order.order_id} is {order.status}{why}",
        f"{who.name}{email} ({who.customer_id}), on {order.customer_shard}, {order.style}, version {order.version}",
        ", ".join(when),
        table(("product", "sku", "quantity", "unit price", "amount"), items, whole=("sku",)),
        f"total {order.total} {order.currency}",
    )
