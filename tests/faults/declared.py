"""What the battery must know of each activity of the order saga. An activity that is not declared here fails a test."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from domain.orders import OrderStatus
from domain.sagas import Reason


class Kind(StrEnum):
    """Kinds of orders, by how they end when nothing goes wrong."""

    SOUND = "sound"
    SHORT = "short of stock"
    """One of its two SKU ranges has too little; what the other one reserved must be given back."""
    STRANGER = "a stranger's"
    """Of a customer who does not exist: refused before it has a row."""


@dataclass(frozen=True, slots=True)
class Ending:
    status: OrderStatus
    reason: Reason | None = None


ENDINGS = {
    Kind.SOUND: Ending(OrderStatus.CONFIRMED),
    Kind.SHORT: Ending(OrderStatus.REJECTED, Reason.OUT_OF_STOCK),
    Kind.STRANGER: Ending(OrderStatus.REJECTED, Reason.UNKNOWN_CUSTOMER),
}
CANCELLED = Ending(OrderStatus.CANCELLED, Reason.CANCELLED)


@dataclass(frozen=True, slots=True)
class Declared:
    """`kinds`: orders whose sagas come to this activity. `refuses`: every reason that it can answer by itself.
    `undone_by`: the activity that compensates it. `undecided`: it runs before the decision, so a cancel can win.
    """

    kinds: tuple[Kind, ...]
    refuses: tuple[Reason, ...] = ()
    undone_by: str | None = None
    undecided: bool = False


DECLARED: dict[str, Declared] = {
    "claim_order_id": Declared((Kind.SOUND,), refuses=(Reason.ID_CONFLICT,), undecided=True),
    "price_lines": Declared((Kind.SOUND,), refuses=(Reason.UNKNOWN_SKU, Reason.CURRENCY_MISMATCH), undecided=True),
    "open_order": Declared(
        (Kind.SOUND,),
        refuses=(
            Reason.UNKNOWN_CUSTOMER,
            Reason.CURRENCY_MISMATCH,
            Reason.ACCOUNT_NOT_OPEN,
            Reason.INSUFFICIENT_FUNDS,
        ),
        undone_by="abort_order",
        undecided=True,
    ),
    "reserve_stock": Declared(
        (Kind.SOUND,),
        refuses=(Reason.UNKNOWN_SKU, Reason.CURRENCY_MISMATCH, Reason.OUT_OF_STOCK),
        undone_by="release_stock",
        undecided=True,
    ),
    "decide_order": Declared((Kind.SOUND, Kind.SHORT, Kind.STRANGER)),
    "consume_stock": Declared((Kind.SOUND,)),
    "credit_merchant": Declared((Kind.SOUND,)),
    "release_stock": Declared((Kind.SHORT,)),
    "abort_order": Declared((Kind.SHORT, Kind.STRANGER)),
    "refuse_order_id": Declared((Kind.STRANGER,)),
}

COMPENSATIONS = frozenset({"release_stock", "abort_order", "refuse_order_id"})
