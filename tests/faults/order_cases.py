"""What each case of the battery needs: a customer, two products on two shards, and an order over them. All in bulk."""

from __future__ import annotations

from dataclasses import dataclass

from domain.catalogue import Customer, Product
from domain.money import Money
from domain.orders import Address, Order, OrderLine, Style
from domain.sagas import Reason
from shards.catalogue.imports import import_customers, import_products
from tests.faults.cases import Case
from tests.faults.declared import CHOREOGRAPHED, Kind
from tests.faults.faults import Refuses
from tests.support.world import World

# These refuse because of the customer, not of the goods.
_OF_CUSTOMERS = ("open_order", "place_order", "hold_payment")
NEAR, FAR = "a", "z"
NEAR_QUANTITY, FAR_QUANTITY = 2, 3
BALANCE_MINOR, PRICE_MINOR, STOCK = 100_00, 1_00, 10
TOTAL_MINOR = (NEAR_QUANTITY + FAR_QUANTITY) * PRICE_MINOR


@dataclass(frozen=True)
class Goods:
    """What one case's order is about; `first` takes its id before it where the case is about that."""

    case: Case
    number: int

    @property
    def _refused(self) -> tuple[str, Reason] | None:
        fault = self.case.fault
        return (self.case.activity, fault.reason) if isinstance(fault, Refuses) else None

    @property
    def customer_id(self) -> str:
        return f"C{self.number}"

    @property
    def near(self) -> str:
        return f"{NEAR}-{self.number:05}"

    @property
    def far(self) -> str:
        return f"{FAR}-{self.number:05}"

    @property
    def order(self) -> Order:
        # An agreed price is not looked up, so that what is wrong with a SKU is found by its stock step.
        # So is one in a currency in which nothing can be for sale.
        currency = "BGN" if self._is_refused_payment(Reason.CURRENCY_WITHDRAWN) else "USD"
        is_agreed = currency == "BGN" or (self._refused is not None and self._refused[0] == "reserve_stock")
        agreed = Money(PRICE_MINOR, currency) if is_agreed else None
        lines = (OrderLine(self.near, NEAR_QUANTITY, agreed), OrderLine(self.far, FAR_QUANTITY, agreed))
        style = Style.CHOREOGRAPHED if self.case.kind in CHOREOGRAPHED else Style.ORCHESTRATED
        ship_to = Address(name=self.customer_id)
        return Order(f"O{self.number}", self.customer_id, currency, lines, ship_to=ship_to, style=style)

    @property
    def first(self) -> Order | None:
        if self._refused != ("claim_order_id", Reason.ID_CONFLICT):
            return None
        return Order(f"O{self.number}", self.customer_id, "USD", (OrderLine(self.near, 1),))

    @property
    def customer(self) -> Customer | None:
        if self.case.kind is Kind.UNKNOWN_CUSTOMER or self._is_refused_payment(Reason.UNKNOWN_CUSTOMER):
            return None
        poor = self.case.kind is Kind.CHOREOGRAPHED_POOR or self._is_refused_payment(Reason.INSUFFICIENT_FUNDS)
        currency = "EUR" if self._is_refused_payment(Reason.CURRENCY_MISMATCH) else "USD"
        balance = Money(TOTAL_MINOR - 1 if poor else BALANCE_MINOR, currency)
        return Customer(self.customer_id, self.customer_id, None, balance)

    @property
    def is_frozen(self) -> bool:
        return self._is_refused_payment(Reason.ACCOUNT_NOT_OPEN)

    def _is_refused_payment(self, reason: Reason) -> bool:
        return self._refused is not None and self._refused[0] in _OF_CUSTOMERS and self._refused[1] is reason

    @property
    def products(self) -> list[Product]:
        short = self.case.kind in (Kind.SHORT, Kind.CHOREOGRAPHED_SHORT)
        near_stock = NEAR_QUANTITY - 1 if short else STOCK
        near = Product(self.near, self.near, Money(PRICE_MINOR, "USD"), near_stock)
        if self._refused is not None and self._refused[1] is Reason.UNKNOWN_SKU:
            return [near]
        foreign = self._refused is not None and self._refused[1] is Reason.CURRENCY_MISMATCH
        currency = "EUR" if foreign and self.case.activity not in _OF_CUSTOMERS else "USD"
        far_stock = FAR_QUANTITY - 1 if self._refused == ("reserve_stock", Reason.OUT_OF_STOCK) else STOCK
        return [near, Product(self.far, self.far, Money(PRICE_MINOR, currency), far_stock)]


async def fill(world: World, goods: list[Goods]) -> None:
    await world.open_shop()
    await import_customers(world.router, [each.customer for each in goods if each.customer is not None])
    await import_products(world.router, [product for each in goods for product in each.products])
    frozen = [each.customer_id for each in goods if each.is_frozen]
    await world.everywhere("UPDATE account SET state = 'frozen' WHERE id = ANY(:ids)", ids=frozen)
