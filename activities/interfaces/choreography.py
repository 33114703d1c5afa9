"""What the services of a choreographed order tell its row. Everything else they do is what the orchestrated saga does,
by the same activities under the same barriers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic.dataclasses import dataclass
from temporalio import activity

from activities.interfaces.orders import StepResult
from domain.choreography import Choreography
from domain.orders import Order, PricedLine
from domain.sagas import Refusal


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    order: Order
    lines: tuple[PricedLine, ...]
    choreography: Choreography


@dataclass(frozen=True, slots=True)
class OrderStep:
    """`refusal`: what went wrong before; None: nothing did."""

    order_id: str
    customer_id: str
    refusal: Refusal | None = None


class ChoreographyActivities(ABC):
    """Each is one barrier step on the customer's shard, and its outcome is an event for the next service. Those on an
    undecided order answer `already_compensated`, and tell nobody, once it is decided; `abort_order` undoes them all.
    """

    @activity.defn
    @abstractmethod
    async def place_order(self, request: PlacedOrder) -> StepResult:
        """Writes the order, pending, nothing held: `OrderPlaced`. Its barrier is that of `open_order`.

        Refuses `unknown_customer` (no row is left). Undone by `abort_order`.
        """

    @activity.defn
    @abstractmethod
    async def join_stock(self, request: OrderStep) -> StepResult:
        """What all stock shards have answered, joined: `StockReserved`, or `StockRefused` with the request's refusal,
        which is the answer too."""

    @activity.defn
    @abstractmethod
    async def hold_payment(self, request: OrderStep) -> StepResult:
        """Holds the order's total on its customer's account: `PaymentHeld`, or `PaymentRefused` with the reason.

        Refuses `currency_mismatch`, `account_not_open`, `insufficient_funds`, and whatever the request does. The hold
        is ended by `decide_order` or `abort_order`.
        """

    @activity.defn
    @abstractmethod
    async def join_release(self, request: OrderStep) -> None:
        """All stock is given back: `StockReleased`. Only while the order is aborting."""
