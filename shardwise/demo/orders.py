"""The demo's orders, and how each must end."""

from __future__ import annotations

from dataclasses import dataclass

from domain.orders import Order, OrderLine, OrderStatus
from domain.sagas import Reason

CANCELLED = "demo-cancelled"
CRASHED = "demo-worker-killed"


@dataclass(frozen=True, slots=True)
class DemoOrder:
    """`window_seconds`: how long the order stays cancellable before it is decided."""

    title: str
    order: Order
    expected: OrderStatus
    reason: Reason | None = None
    window_seconds: float = 0.0


def demo_orders() -> list[DemoOrder]:
    return [
        DemoOrder(
            "goods from two shards",
            _order("demo-confirmed", "ada", ("COFFEE-1KG", 2), ("TEAPOT", 1)),
            OrderStatus.CONFIRMED,
        ),
        DemoOrder(
            "more than there is: all that was taken is given back",
            _order("demo-out-of-stock", "margaret", ("GRINDER", 4), ("CUP-BLUE", 2)),
            OrderStatus.REJECTED,
            Reason.OUT_OF_STOCK,
        ),
        DemoOrder(
            "more than the account holds",
            _order("demo-out-of-money", "niklaus", ("TEAPOT", 1)),
            OrderStatus.REJECTED,
            Reason.INSUFFICIENT_FUNDS,
        ),
        DemoOrder(
            "cancelled with its money held and its goods reserved",
            _order(CANCELLED, "donald", ("KETTLE", 1), ("TEA-100G", 5)),
            OrderStatus.CANCELLED,
            Reason.CANCELLED,
            window_seconds=60,
        ),
        DemoOrder(
            "its worker killed (-9) in the middle, another goes on",
            _order(CRASHED, "alan", ("COFFEE-1KG", 1), ("CUP-BLUE", 4), ("KETTLE", 1)),
            OrderStatus.CONFIRMED,
            window_seconds=3,
        ),
    ]


def _order(order_id: str, customer_id: str, *lines: tuple[str, int]) -> Order:
    return Order(order_id, customer_id, "USD", tuple(OrderLine(sku, quantity) for sku, quantity in lines))
