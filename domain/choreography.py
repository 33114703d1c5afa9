"""The same order without a coordinator: four services, each of which reacts to what the others have done.

    OrderPlaced ─▶ reserve stock ─▶ StockReserved ─▶ hold payment ─▶ PaymentHeld ─▶ confirm order ─▶ OrderConfirmed
                        │                                 │                                 ship order ◀──┤
                   StockRefused ─────▶ abort order ◀── PaymentRefused                  credit merchant ◀──┘
                                            │
                                      OrderAborting ─▶ release stock ─▶ StockReleased ─▶ close order ─▶ OrderRejected,
                                                                                                     OrderCancelled

A reactor is a short workflow on its service's task queue. The order's row decides, as in the other style. Its newest
event determines who has to act next, so a reactor that was lost can be started again from the row alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self

from pydantic.dataclasses import dataclass

from domain.errors import InvalidInput
from domain.identifiers import check_identifier, check_shard_name, order_saga_id
from domain.money import Money, check_amount
from domain.numbers import check_quantity, check_seconds, check_whole
from domain.orders import StockShare, Style
from domain.sagas import Refusal, SagaOptions, check_options
from domain.steps import Step

PLACEMENT_TYPE = "PlaceChoreographedOrder"
_PLACEMENT_PREFIX = "order-placement/"
# The limit of the row's column.
_VERSION_MAX = 2**63 - 1


class Service(StrEnum):
    """By the name of its task queue: each can be hosted by workers, and owned by a team, of its own."""

    ORDERS = "orders"
    INVENTORY = "inventory"
    PAYMENT = "payment"
    SHIPPING = "shipping"


class EventKind(StrEnum):
    """The events of a choreographed order's own row, each of which is the newest for a while."""

    ORDER_PLACED = "OrderPlaced"
    STOCK_RESERVED = "StockReserved"
    STOCK_REFUSED = "StockRefused"
    PAYMENT_HELD = "PaymentHeld"
    PAYMENT_REFUSED = "PaymentRefused"
    ORDER_CONFIRMED = "OrderConfirmed"
    ORDER_ABORTING = "OrderAborting"
    STOCK_RELEASED = "StockReleased"
    ORDER_REJECTED = "OrderRejected"
    ORDER_CANCELLED = "OrderCancelled"


@dataclass(frozen=True, slots=True)
class _ReactorSpec:
    name: str
    service: Service
    steps: tuple[Step, ...]
    publishes: tuple[EventKind, ...] = ()


class Reactor(StrEnum):
    """A service's reaction to an event: the `steps` that it runs on the service's queue, and the events of which it
    `publishes` one."""

    service: Service
    steps: tuple[Step, ...]
    publishes: tuple[EventKind, ...]

    def __new__(cls, spec: _ReactorSpec) -> Self:
        reactor = str.__new__(cls, spec.name)
        reactor._value_ = spec.name
        reactor.service, reactor.steps, reactor.publishes = spec.service, spec.steps, spec.publishes
        return reactor

    RESERVE_STOCK = _ReactorSpec(
        "reserve-stock",
        Service.INVENTORY,
        (Step.RESERVE_STOCK, Step.JOIN_STOCK),
        (EventKind.STOCK_RESERVED, EventKind.STOCK_REFUSED),
    )
    HOLD_PAYMENT = _ReactorSpec(
        "hold-payment", Service.PAYMENT, (Step.HOLD_PAYMENT,), (EventKind.PAYMENT_HELD, EventKind.PAYMENT_REFUSED)
    )
    CONFIRM_ORDER = _ReactorSpec(
        "confirm-order", Service.ORDERS, (Step.DECIDE_ORDER,), (EventKind.ORDER_CONFIRMED, EventKind.ORDER_ABORTING)
    )
    SHIP_ORDER = _ReactorSpec("ship-order", Service.SHIPPING, (Step.CONSUME_STOCK,))
    CREDIT_MERCHANT = _ReactorSpec("credit-merchant", Service.PAYMENT, (Step.CREDIT_MERCHANT,))
    ABORT_ORDER = _ReactorSpec("abort-order", Service.ORDERS, (Step.DECIDE_ORDER,), (EventKind.ORDER_ABORTING,))
    RELEASE_STOCK = _ReactorSpec(
        "release-stock", Service.INVENTORY, (Step.RELEASE_STOCK, Step.JOIN_RELEASE), (EventKind.STOCK_RELEASED,)
    )
    CLOSE_ORDER = _ReactorSpec(
        "close-order", Service.ORDERS, (Step.ABORT_ORDER,), (EventKind.ORDER_REJECTED, EventKind.ORDER_CANCELLED)
    )

    @property
    def workflow_type(self) -> str:
        return self.title().replace("-", "")


REACTIONS: Mapping[EventKind, tuple[Reactor, ...]] = {
    EventKind.ORDER_PLACED: (Reactor.RESERVE_STOCK,),
    EventKind.STOCK_RESERVED: (Reactor.HOLD_PAYMENT,),
    EventKind.STOCK_REFUSED: (Reactor.ABORT_ORDER,),
    EventKind.PAYMENT_HELD: (Reactor.CONFIRM_ORDER,),
    EventKind.PAYMENT_REFUSED: (Reactor.ABORT_ORDER,),
    EventKind.ORDER_CONFIRMED: (Reactor.SHIP_ORDER, Reactor.CREDIT_MERCHANT),
    EventKind.ORDER_ABORTING: (Reactor.RELEASE_STOCK,),
    EventKind.STOCK_RELEASED: (Reactor.CLOSE_ORDER,),
    EventKind.ORDER_REJECTED: (),
    EventKind.ORDER_CANCELLED: (),
}


def steps_at(service: Service) -> frozenset[Step]:
    """The steps of orders that its queue offers: those of its reactors. That of `ORDERS` also offers every step
    of orchestrated orders, and the steps that place a choreographed one."""
    reacting = {step for reactor in Reactor if reactor.service is service for step in reactor.steps}
    if service is not Service.ORDERS:
        return frozenset(reacting)
    orchestrated = {step for step in Step if step.is_of_orders and step.is_of(Style.ORCHESTRATED)}
    return frozenset(reacting | orchestrated | set(placing_steps()))


def placing_steps() -> tuple[Step, ...]:
    """The steps that no reactor runs: the placement does, up to the first event or the refusal that is kept instead."""
    of_reactors = {step for reactor in Reactor for step in reactor.steps}
    choreographed = [step for step in Step if step.is_of_orders and step.is_of(Style.CHOREOGRAPHED)]
    return tuple(step for step in choreographed if step not in of_reactors)


ORDER_WORKFLOW_TYPES = ("OrderSaga", PLACEMENT_TYPE, *(reactor.workflow_type for reactor in Reactor))
"""The types of all workflows that may work on an order, in either style."""


@dataclass(frozen=True, slots=True)
class Choreography:
    """What any reactor of an order may need. Each event carries it, so that no reactor has to read it.

    `refusal`: why it is being aborted, or is about to be. `cancellation_window_seconds`: as in `PlaceOrder`.
    """

    customer_id: str
    total: Money
    stock: tuple[StockShare, ...]
    refusal: Refusal | None = None
    options: SagaOptions = SagaOptions()
    cancellation_window_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class OrderEvent:
    """`version` is the row's after the event: no two events of an order share one."""

    order_id: str
    version: int
    kind: EventKind
    choreography: Choreography

    @property
    def saga_id(self) -> str:
        return order_saga_id(self.order_id)


def check_event(event: OrderEvent, reactor: Reactor) -> OrderEvent:
    """The rules for what `reactor` is started with, or `InvalidInput` naming the field. Only the row
    knows whether the order has had such an event."""
    check_identifier(event.order_id, "order_id")
    check_whole(event.version, "version", 1, _VERSION_MAX)
    if reactor not in REACTIONS[event.kind]:
        kinds = " or ".join(kind for kind, reactors in REACTIONS.items() if reactor in reactors)
        raise InvalidInput("kind", f"kind: expected {kinds}, which {reactor} reacts to, got {event.kind}")
    order = event.choreography
    check_identifier(order.customer_id, "choreography.customer_id")
    check_amount(order.total, "choreography.total")
    for n, share in enumerate(order.stock):
        _check_share(share, f"choreography.stock.{n}")
    if order.refusal is not None and "\0" in order.refusal.detail:
        raise InvalidInput("choreography.refusal.detail", "choreography.refusal.detail: expected text without NUL")
    check_options(order.options)
    check_seconds(order.cancellation_window_seconds, "choreography.cancellation_window_seconds")
    return event


def _check_share(share: StockShare, field: str) -> None:
    if share.sku_range:  # The first range has no lower bound.
        check_identifier(share.sku_range, f"{field}.sku_range")
    check_shard_name(share.shard, f"{field}.shard")
    if not share.quantities:
        raise InvalidInput(f"{field}.quantities", f"{field}.quantities: expected one SKU or more")
    for sku, quantity in share.quantities.items():
        check_identifier(sku, f"{field}.quantities")
        check_quantity(quantity, f"{field}.quantities.{sku}")


def reactor_id(reactor: Reactor, order_id: str, version: int) -> str:
    """Its workflow's id. The same event starts the same reactor however often it is read."""
    return f"{reactor}/{order_id}/{version}"


def reactor_ids(kind: str, order_id: str, version: int) -> tuple[str, ...]:
    """The ids of all reactors to this event; none for an unknown kind."""
    reactors = REACTIONS[EventKind(kind)] if kind in EventKind.__members__.values() else ()
    return tuple(reactor_id(reactor, order_id, version) for reactor in reactors)


def placement_id(order_id: str) -> str:
    """The id of the workflow that places a choreographed order, before its first event."""
    return f"{_PLACEMENT_PREFIX}{order_id}"


def saga_id_of(workflow_id: str) -> str:
    """The saga that a workflow works for. Most workflows are named after their saga; those of choreographed orders are
    not."""
    name, _, rest = workflow_id.partition("/")
    if name in Reactor.__members__.values():
        return order_saga_id(rest.rpartition("/")[0])
    if workflow_id.startswith(_PLACEMENT_PREFIX):
        return order_saga_id(workflow_id.removeprefix(_PLACEMENT_PREFIX))
    return workflow_id
