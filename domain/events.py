"""What shards tell: each kind of event is declared once, with the aggregate whose version it carries.

Two aggregates may tell the same thing by the same name, as stock and order do of what is reserved: a kind is one
aggregate's. Who consumes a kind follows from here and from `domain.choreography.REACTIONS`.
"""

from __future__ import annotations

from enum import StrEnum

from domain.choreography import REACTIONS, EventKind, Reactor


class Aggregate(StrEnum):
    """Whose version an event carries, by the name that it carries it under. In the order in which the read model is
    written: names before what carries them, accounts before their lines."""

    PRODUCT = "product"
    STOCK = "stock"
    CUSTOMER = "customer"
    ACCOUNT = "account"
    ORDER = "order"
    TRANSFER = "transfer"


PROJECTED = tuple(aggregate for aggregate in Aggregate if aggregate is not Aggregate.TRANSFER)
"""Those that the read model keeps a row of. A transfer is read from the accounts that it moves."""


class ProductEvent(StrEnum):
    LISTED = "ProductListed"
    RENAMED = "ProductRenamed"


class StockEvent(StrEnum):
    OPENED = "StockOpened"
    RECEIVED = "StockReceived"
    RESERVED = "StockReserved"
    RELEASED = "StockReleased"
    CONSUMED = "StockConsumed"


class CustomerEvent(StrEnum):
    REGISTERED = "CustomerRegistered"
    RENAMED = "CustomerRenamed"


class AccountEvent(StrEnum):
    OPENED = "AccountOpened"
    FROZEN = "AccountFrozen"
    UNFROZEN = "AccountUnfrozen"
    CLOSED = "AccountClosed"
    PAYMENT_HELD = "PaymentHeld"
    PAYMENT_CAPTURED = "PaymentCaptured"
    PAYMENT_RELEASED = "PaymentReleased"
    MERCHANT_CREDITED = "MerchantCredited"
    TRANSFER_HELD = "TransferHeld"
    TRANSFER_RELEASED = "TransferReleased"
    TRANSFER_SENT = "TransferSent"
    TRANSFER_RECEIVED = "TransferReceived"
    TRANSFERS_POSTED = "TransfersPosted"


class TransferEvent(StrEnum):
    OPENED = "TransferOpened"
    CONFIRMED = "TransferConfirmed"
    DECLINED = "TransferDeclined"


Event = ProductEvent | StockEvent | CustomerEvent | AccountEvent | EventKind | TransferEvent

AGGREGATES: dict[type[Event], Aggregate] = {
    ProductEvent: Aggregate.PRODUCT,
    StockEvent: Aggregate.STOCK,
    CustomerEvent: Aggregate.CUSTOMER,
    AccountEvent: Aggregate.ACCOUNT,
    EventKind: Aggregate.ORDER,
    TransferEvent: Aggregate.TRANSFER,
}


def aggregate_of(event: Event) -> Aggregate:
    return AGGREGATES[type(event)]


def reactors_to(event: Event) -> tuple[Reactor, ...]:
    """Those that act on it, where it is of a choreographed order."""
    return REACTIONS[event] if isinstance(event, EventKind) else ()


def is_projected(event: Event) -> bool:
    """Whether the read model follows it."""
    return aggregate_of(event) in PROJECTED
