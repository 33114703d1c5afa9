"""The events of the shards: each kind is declared once, with the aggregate whose version it carries.

A kind belongs to one aggregate. Two aggregates may have kinds of the same name, as stock and order have
`StockReserved`. The consumers of a kind follow from here and from `domain.choreography.REACTIONS`.
"""

from __future__ import annotations

from enum import StrEnum

from domain.choreography import REACTIONS, EventKind, Reactor


class Aggregate(StrEnum):
    """Whose version an event carries, by its name in the event. In the order in which the read model is written: names
    before the rows that show them, accounts before their lines."""

    PRODUCT = "product"
    STOCK = "stock"
    CUSTOMER = "customer"
    ACCOUNT = "account"
    ORDER = "order"
    TRANSFER = "transfer"
    COMMENT = "comment"


PROJECTED = tuple(aggregate for aggregate in Aggregate if aggregate not in (Aggregate.TRANSFER, Aggregate.COMMENT))
"""Those that have rows in the read model. A transfer is read from the lines of its accounts, a comment from its shard
and its replicas."""


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
    PROFILE_CHANGED = "ProfileChanged"


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


class CommentEvent(StrEnum):
    POSTED = "CommentPosted"
    HIDDEN = "CommentHidden"


Event = CommentEvent | ProductEvent | StockEvent | CustomerEvent | AccountEvent | EventKind | TransferEvent

AGGREGATES: dict[type[Event], Aggregate] = {
    ProductEvent: Aggregate.PRODUCT,
    StockEvent: Aggregate.STOCK,
    CustomerEvent: Aggregate.CUSTOMER,
    AccountEvent: Aggregate.ACCOUNT,
    EventKind: Aggregate.ORDER,
    TransferEvent: Aggregate.TRANSFER,
    CommentEvent: Aggregate.COMMENT,
}


def aggregate_of(event: Event) -> Aggregate:
    return AGGREGATES[type(event)]


def reactors_to(event: Event) -> tuple[Reactor, ...]:
    """The reactors to it, if it is an event of a choreographed order; else none."""
    return REACTIONS[event] if isinstance(event, EventKind) else ()


def is_projected(event: Event) -> bool:
    """Whether the read model follows it."""
    return aggregate_of(event) in PROJECTED
