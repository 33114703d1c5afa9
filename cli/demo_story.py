"""The demo's orders, and what must become of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TypeVar

from cli.csv_file import Row, read_csv
from domain.catalogue import (
    CUSTOMER_COLUMNS,
    PRODUCT_COLUMNS,
    Customer,
    Product,
    customer_of_row,
    product_of_row,
)
from domain.orders import Order, OrderLine, OrderStatus
from domain.sagas import Reason

R = TypeVar("R", bound=Row)

CANCELLED = "demo-cancelled"
CRASHED = "demo-worker-killed"


@dataclass(frozen=True, slots=True)
class Scene:
    """`window_seconds`: how long the order stays cancellable before it is decided."""

    title: str
    order: Order
    expected: OrderStatus
    reason: Reason | None = None
    window_seconds: float = 0.0


def scenes() -> list[Scene]:
    return [
        Scene(
            "goods from two shards",
            _order("demo-confirmed", "ada", ("COFFEE-1KG", 2), ("TEAPOT", 1)),
            OrderStatus.CONFIRMED,
        ),
        Scene(
            "more than there is: all that was taken is given back",
            _order("demo-out-of-stock", "margaret", ("GRINDER", 4), ("CUP-BLUE", 2)),
            OrderStatus.REJECTED,
            Reason.OUT_OF_STOCK,
        ),
        Scene(
            "more than the account holds",
            _order("demo-out-of-money", "niklaus", ("TEAPOT", 1)),
            OrderStatus.REJECTED,
            Reason.INSUFFICIENT_FUNDS,
        ),
        Scene(
            "cancelled with its money held and its goods reserved",
            _order(CANCELLED, "donald", ("KETTLE", 1), ("TEA-100G", 5)),
            OrderStatus.CANCELLED,
            Reason.CANCELLED,
            window_seconds=60,
        ),
        Scene(
            "its worker killed (-9) in the middle, another goes on",
            _order(CRASHED, "alan", ("COFFEE-1KG", 1), ("CUP-BLUE", 4), ("KETTLE", 1)),
            OrderStatus.CONFIRMED,
            window_seconds=3,
        ),
    ]


def sample_customers() -> list[Customer]:
    return _sample("customers.csv", CUSTOMER_COLUMNS, customer_of_row, lambda customer: customer.customer_id)


def sample_products() -> list[Product]:
    return _sample("products.csv", PRODUCT_COLUMNS, product_of_row, lambda product: product.sku)


def _order(order_id: str, customer_id: str, *lines: tuple[str, int]) -> Order:
    return Order(order_id, customer_id, "USD", tuple(OrderLine(sku, quantity) for sku, quantity in lines))


def _sample(
    name: str, columns: Sequence[str], row_of: Callable[[Mapping[str, str]], R], key_of: Callable[[R], str]
) -> list[R]:
    with as_file(files("cli") / "sample" / name) as path:
        return read_csv(path, columns, row_of, key_of)
