"""Orders, their stock and their payment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field

from pydantic.dataclasses import dataclass
from temporalio import activity

from domain.money import Money
from domain.orders import Order, PricedLine, StockShare
from domain.sagas import Decision, Refusal


@dataclass(frozen=True, slots=True)
class Claimed:
    """`refusal` if the id already names another order, or this one in the other style."""

    refusal: Refusal | None
    stock: tuple[StockShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Priced:
    refusal: Refusal | None
    lines: tuple[PricedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenOrder:
    order: Order
    lines: tuple[PricedLine, ...]
    total: Money


@dataclass(frozen=True, slots=True)
class DecideOrder:
    """`refusal` None requests to confirm, otherwise to abort for that reason."""

    order_id: str
    customer_id: str
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class AbortOrder:
    order_id: str
    customer_id: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class RefuseOrderId:
    order: Order
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class StockStep:
    saga_id: str
    currency: str
    share: StockShare


@dataclass(frozen=True, slots=True)
class CreditMerchant:
    saga_id: str
    customer_id: str
    amount: Money


@dataclass(frozen=True, slots=True)
class StepResult:
    """`refusal` None: done."""

    refusal: Refusal | None = field(default=None)


class OrderActivities(ABC):
    """The order's own rows: the lookup of its id, and the order on its customer's shard."""

    @activity.defn
    @abstractmethod
    async def claim_order_id(self, order: Order) -> Claimed:
        """Takes the order's id for ever, on the shard of the order id, and plans which shard each SKU's stock is taken
        from.

        Idempotent by order id and content: the same request gets its first plan back. Another request is refused with
        `id_conflict`, the same one in the other style with `other_style`. Never undone.
        """

    @activity.defn
    @abstractmethod
    async def price_lines(self, order: Order) -> Priced:
        """The lines, with the catalogue's price for those without an agreed one. Only reads; refuses `unknown_sku`,
        `currency_mismatch`. Two calls can differ: the order's row keeps the prices that it was first opened with.
        """

    @activity.defn
    @abstractmethod
    async def open_order(self, request: OpenOrder) -> StepResult:
        """Writes the order, pending, and holds its payment, on the customer's shard.

        Refuses `unknown_customer` (no row is left), `currency_mismatch`, `account_not_open`,
        `insufficient_funds`. Undone by `abort_order`.
        """

    @activity.defn
    @abstractmethod
    async def decide_order(self, request: DecideOrder) -> Decision:
        """The pivot: one compare-and-set on the order's row. Confirming captures the payment and requests the
        shipment in the same transaction. The first decision wins and every call returns it.

        Never undone: after `confirmed` only forward, after anything else all steps are undone.
        """

    @activity.defn
    @abstractmethod
    async def abort_order(self, request: AbortOrder) -> None:
        """Undoes `open_order`: releases the hold and closes the row as rejected or cancelled. Only after the
        decision to abort. If `open_order` never ran, nothing happens, and it never will run.
        """

    @activity.defn
    @abstractmethod
    async def refuse_order_id(self, request: RefuseOrderId) -> None:
        """Records on the lookup row why an order was refused before it had a row of its own. Never undone."""


class StockActivities(ABC):
    """Stock of one SKU range."""

    @activity.defn
    @abstractmethod
    async def reserve_stock(self, request: StockStep) -> StepResult:
        """Reserves the whole share or nothing. Refuses `unknown_sku`, `currency_mismatch`, `out_of_stock`.

        Undone by `release_stock`, ended by `consume_stock`.
        """

    @activity.defn
    @abstractmethod
    async def release_stock(self, request: StockStep) -> None:
        """Undoes `reserve_stock`; if that never ran, it never will."""

    @activity.defn
    @abstractmethod
    async def consume_stock(self, request: StockStep) -> None:
        """The reserved goods leave the stock. Only after `confirmed`; forward only, cannot be refused."""


class PaymentActivities(ABC):
    """Money that arrives on another shard."""

    @activity.defn
    @abstractmethod
    async def credit_merchant(self, request: CreditMerchant) -> None:
        """Moves the captured amount from clearing to the merchant of its currency, on the merchant's shard.

        Only after `confirmed`; forward only, cannot be refused. Until it has run, `verify` shows the amount as
        in flight.
        """
