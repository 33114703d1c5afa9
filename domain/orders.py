"""Orders: their content, their total, and what their states mean.

    pending ──▶ confirmed
       └──────▶ aborting ──▶ rejected | cancelled

The arrow out of `pending` is the decision, one compare-and-set on the order's row; it is never taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pydantic.dataclasses import dataclass

from domain.argument_types import check_type
from domain.content import hash_of_content
from domain.currencies import why_not_new
from domain.errors import InvalidInput
from domain.identifiers import check_identifier, is_contrast_id, refuse_contrast_id
from domain.limits import AMOUNT_MINOR_UNITS_MAX, ORDER_LINES_MAX, QUANTITY_MAX
from domain.money import Money, check_amount, check_currency
from domain.numbers import check_quantity
from domain.sagas import Reason, Refusal
from domain.text import check_free_text
from domain.timestamps import Day


class Style(StrEnum):
    """How an order is carried out: by one workflow that calls the steps, or by services that react to its events."""

    ORCHESTRATED = "orchestrated"
    CHOREOGRAPHED = "choreographed"

    @property
    def other(self) -> Style:
        return Style.CHOREOGRAPHED if self is Style.ORCHESTRATED else Style.ORCHESTRATED


class OrderState(StrEnum):
    """The states an order's row can be in."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    ABORTING = "aborting"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES = frozenset({OrderState.CONFIRMED, OrderState.REJECTED, OrderState.CANCELLED})


class OrderStatus(StrEnum):
    """What people see, and the values of the search attribute `OrderStatus`.

    `compensating` is the row's `aborting`. Only the workflow knows `stuck`: a step has not succeeded for a while. It
    is an alarm, never final, and Temporal goes on retrying.
    """

    PENDING = "pending"
    CONFIRMED = "confirmed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    COMPENSATING = "compensating"
    STUCK = "stuck"

    @classmethod
    def of_state(cls, state: OrderState) -> OrderStatus:
        return cls.COMPENSATING if state is OrderState.ABORTING else cls(state.value)


# No row has the state `stuck`.
STATE_OF_STATUS = {OrderStatus.of_state(state): state for state in OrderState}


def closing_state(reason: Reason) -> OrderState:
    """How an aborted order ends: `cancelled` if a caller cancelled it, `rejected` if a rule refused it."""
    return OrderState.CANCELLED if reason is Reason.CANCELLED else OrderState.REJECTED


@dataclass(frozen=True, slots=True)
class Address:
    name: str | None = None
    address: str | None = None
    city: str | None = None
    postal_code: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class OrderLine:
    """`unit_price`, where given, is the agreed price and wins; None means the catalogue's."""

    sku: str
    quantity: int
    unit_price: Money | None = None


@dataclass(frozen=True, slots=True)
class PricedLine:
    sku: str
    quantity: int
    unit_price: Money


@dataclass(frozen=True, slots=True)
class StockShare:
    """The part of an order whose stock is in one SKU range. `shard` is for people: routing reads the map again."""

    sku_range: str
    shard: str
    quantities: dict[str, int]


@dataclass(frozen=True, slots=True)
class Order:
    """A customer's request, as given: prices not yet resolved, lines already merged.

    `style` is how to carry it out, and no part of its content: the first one under an id stays.
    """

    order_id: str
    customer_id: str
    currency: str
    lines: tuple[OrderLine, ...]
    ordered_on: Day | None = None
    ship_to: Address | None = None
    style: Style = Style.ORCHESTRATED

    @property
    def content_hash(self) -> str:
        """Equal for equal requests, whatever prices or stock are today: distinguishes a repeat from a conflict."""
        content = {
            "customer_id": self.customer_id,
            "currency": self.currency,
            "lines": sorted([x.sku, x.quantity, str(x.unit_price or "")] for x in self.lines),
            "ordered_on": self.ordered_on.isoformat() if self.ordered_on else None,
            "ship_to": [*_address_fields(self.ship_to)] if self.ship_to else None,
        }
        return hash_of_content(content)


def merge_lines(lines: Sequence[OrderLine]) -> tuple[OrderLine, ...]:
    """One line per SKU and price, in the order first seen: the same SKU twice is more of it, not an error."""
    merged: dict[tuple[str, Money | None], int] = {}
    for line in lines:
        key = (line.sku, line.unit_price)
        merged[key] = merged.get(key, 0) + line.quantity
    return tuple(OrderLine(sku, quantity, price) for (sku, price), quantity in merged.items())


def check_order(order: Order) -> Order:
    """The rules that hold for any order, whatever its source of input, or `InvalidInput` naming the field."""
    check_type(order, Order, "order")
    check_identifier(order.order_id, "order_id")
    check_identifier(order.customer_id, "customer_id")
    check_currency(order.currency)
    if not 1 <= len(order.lines) <= ORDER_LINES_MAX:
        raise InvalidInput("lines", f"lines: expected 1 to {ORDER_LINES_MAX} lines, got {len(order.lines)}")
    for n, line in enumerate(order.lines):
        check_line(line, order.currency, f"lines.{n}")
    _check_contrast_ids(order)
    for sku, quantity in quantities_by_sku(order.lines).items():
        if quantity > QUANTITY_MAX:
            raise InvalidInput("lines", f"lines: expected at most {QUANTITY_MAX} of {sku} together, got {quantity}")
    known = [x.unit_price.minor * x.quantity for x in order.lines if x.unit_price is not None]
    if sum(known) > AMOUNT_MINOR_UNITS_MAX:
        raise InvalidInput("lines", f"lines: expected a total of at most {AMOUNT_MINOR_UNITS_MAX} minor units")
    for name, text in _given_fields(order.ship_to):
        check_free_text(text, f"ship_to.{name}")
    return order


def _check_contrast_ids(order: Order) -> None:
    """An order of `shardwise contrast` has only ids of the contrast, and no other order has any: no list leaves out
    anybody else's order or half of one."""
    ids = {"order_id": order.order_id, "customer_id": order.customer_id}
    ids |= {f"lines.{n}.sku": line.sku for n, line in enumerate(order.lines)}
    if not all(map(is_contrast_id, ids.values())):
        for field, identifier in ids.items():
            refuse_contrast_id(identifier, field)


def check_line(line: OrderLine, currency: str, field: str) -> OrderLine:
    """One line of an order in this currency. `field`: what a fault is named after."""
    check_identifier(line.sku, f"{field}.sku")
    check_quantity(line.quantity, f"{field}.quantity")
    if line.unit_price is not None:
        if line.unit_price.currency != currency:
            expected = f"a price in the order's currency {currency}"
            raise InvalidInput(f"{field}.unit_price", f"{field}.unit_price: expected {expected}, got {line.unit_price}")
        check_amount(line.unit_price, f"{field}.unit_price")
    return line


def quantities_by_sku(lines: Sequence[OrderLine] | Sequence[PricedLine]) -> dict[str, int]:
    """What stock must be reserved, sorted by SKU: the one order in which stock rows are locked."""
    quantities: dict[str, int] = {}
    for line in lines:
        quantities[line.sku] = quantities.get(line.sku, 0) + line.quantity
    return dict(sorted(quantities.items()))


def total_of(lines: Sequence[PricedLine], currency: str) -> Money | Refusal:
    """The order's total, or a refusal if catalogue prices take it over the limit of an amount."""
    minor = sum(line.unit_price.minor * line.quantity for line in lines)
    if minor > AMOUNT_MINOR_UNITS_MAX:
        return Refusal(Reason.AMOUNT_TOO_LARGE, f"the total is over the limit of {AMOUNT_MINOR_UNITS_MAX} minor units")
    return Money(minor, currency)


def why_not_in(currency: str) -> Refusal | None:
    """Why no new order may be in this currency; None if it may.

    For the step that opens it, not for `check_order`: input is checked again whenever an order goes on, and one that
    was opened before the currency was withdrawn runs to its end.
    """
    detail = why_not_new(currency)
    return None if detail is None else Refusal(Reason.CURRENCY_WITHDRAWN, detail)


def agreed_total(order: Order) -> Money | None:
    """None if a line's price is the catalogue's, and so not known yet."""
    prices = [line.unit_price.minor * line.quantity for line in order.lines if line.unit_price is not None]
    return Money(sum(prices), order.currency) if len(prices) == len(order.lines) else None


def _given_fields(address: Address | None) -> list[tuple[str, str]]:
    names = ("name", "address", "city", "postal_code", "country")
    fields = zip(names, _address_fields(address) if address else (), strict=False)
    return [(name, text) for name, text in fields if text is not None]


def _address_fields(address: Address) -> tuple[str | None, ...]:
    return (address.name, address.address, address.city, address.postal_code, address.country)
