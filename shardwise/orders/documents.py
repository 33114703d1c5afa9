"""The one document of an order: for `order place`, `show`, `cancel`, `retry` and `list`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from domain.choreography import placement_id
from domain.documents import Document
from domain.identifiers import order_saga_id
from domain.orders import STATE_OF_STATUS, Order, OrderStatus, PricedLine, Style
from domain.sagas import Reason, Refusal
from domain.timestamps import Timestamp
from shards.orders.order_row import OrderRow
from shards.read_model.orders import ListedOrder


class LineDocument(Document):
    """`unit_price` is null if the line was never priced."""

    sku: str
    quantity: int
    unit_price: str | None


class OrderDocument(Document):
    """Amounts are decimal strings. Null: there is none, such as a total without prices, `placed_at` of an order that
    was refused before it had a row, or the currency of an order of which only the id is left."""

    order_id: str
    status: OrderStatus
    reason: Reason | None = None
    detail: str | None = None
    total: str | None = None
    currency: str | None = None
    lines: list[LineDocument] = Field(default_factory=list)
    customer_id: str | None = None
    customer_shard: str | None = None
    placed_at: Timestamp | None = None
    decided_at: Timestamp | None = None
    style: Style = Style.ORCHESTRATED
    workflow_id: str
    waits_for: str | None = None
    """For an order that is not final: the step that it is in, and until when. Null if Temporal does not know."""

    @property
    def is_final(self) -> bool:
        state = STATE_OF_STATUS.get(self.status)
        return state is not None and state.is_final


def why_of(status: str | None, reason: str | None, detail: str | None) -> str:
    """The text after the status, for a person: `rejected: out_of_stock, …`, and `cancelled before it was confirmed`."""
    if reason is None:
        return ""
    detail = detail or ""
    if reason == status:
        rest = detail.removeprefix(status)
        return rest if rest != detail or not detail else f": {detail}"
    return ": " + ", ".join(filter(None, (reason, detail)))


def of_row(row: OrderRow, status: OrderStatus, lines: Sequence[PricedLine], customer_shard: str) -> OrderDocument:
    reason, detail = (row.refusal.reason, row.refusal.detail) if row.refusal else (None, None)
    return _with_row(row, status, reason, detail, lines, customer_shard)


def of_listed(order: ListedOrder) -> OrderDocument:
    """As the read model has it."""
    return _with_row(order, order.status, order.reason, order.detail, order.lines, order.shard)


def _with_row(
    row: OrderRow | ListedOrder,
    status: OrderStatus,
    reason: Reason | None,
    detail: str | None,
    lines: Sequence[PricedLine],
    customer_shard: str,
) -> OrderDocument:
    return OrderDocument(
        order_id=row.order_id,
        status=status,
        reason=reason,
        detail=detail,
        total=row.total.amount,
        currency=row.total.currency,
        lines=[LineDocument(sku=x.sku, quantity=x.quantity, unit_price=x.unit_price.amount) for x in lines],
        customer_id=row.customer_id,
        customer_shard=customer_shard,
        placed_at=row.placed_at,
        decided_at=row.decided_at,
        style=row.style,
        workflow_id=_workflow_id(row.order_id, row.style),
    )


def of_request(
    order: Order, status: OrderStatus, customer_shard: str | None, refusal: Refusal | None = None
) -> OrderDocument:
    """An order without a row, as it was requested: prices are the agreed ones."""
    return OrderDocument(
        order_id=order.order_id,
        status=status,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else None,
        currency=order.currency,
        lines=[
            LineDocument(sku=x.sku, quantity=x.quantity, unit_price=x.unit_price.amount if x.unit_price else None)
            for x in order.lines
        ],
        customer_id=order.customer_id,
        customer_shard=customer_shard,
        style=order.style,
        workflow_id=_workflow_id(order.order_id, order.style),
    )


def _workflow_id(order_id: str, style: Style) -> str:
    """The id of the workflow that carries the order out, or of the placement of a choreographed order."""
    return placement_id(order_id) if style is Style.CHOREOGRAPHED else order_saga_id(order_id)
