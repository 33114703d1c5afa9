"""What the services of a choreographed order record on its row. Everything else they do by the activities of the
orchestrated saga, under the same barriers."""

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
    """Each is one barrier step on the customer's shard, and its outcome is an event for the next service. Once the
    order is decided, the steps before the decision return `already_compensated` and append no event; `abort_order`
    undoes them all.
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
        """Records the joint result of all stock shards: `StockReserved`, or `StockRefused` with the request's refusal,
        which it also returns."""

    @activity.defn
    @abstractmethod
    async def hold_payment(self, request: OrderStep) -> StepResult:
        """Holds the order's total on its customer's account: `PaymentHeld`, or `PaymentRefused` with the reason.

        Refuses `currency_mismatch`, `account_not_open`, `insufficient_funds`, and the request's refusal if it has one.
        The hold is ended by `decide_order` or `abort_order`.
        """

    @activity.defn
    @abstractmethod
    async def join_release(self, request: OrderStep) -> None:
        """Records that all stock is released: `StockReleased`. Only while the order is aborting."""
