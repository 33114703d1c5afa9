"""What the shards hold when all is at rest, beside what each case's order must have left there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.orders import OrderStatus
from domain.sagas import Reason
from tests.faults.declared import Ending
from tests.faults.order_cases import FAR_QUANTITY, NEAR_QUANTITY, TOTAL_MINOR, Goods
from tests.faults.saga import WatchedSaga
from tests.support.world import World

# `has_row`: one refused before it had a row has no events of its own either.
_ORDERS = """
    SELECT id, state, reason, true AS has_row FROM orders
    UNION ALL SELECT order_id, 'rejected', refused_reason, false FROM order_lookup WHERE refused_reason IS NOT NULL
"""
_LAST_EVENTS = """
    SELECT DISTINCT ON (aggregate_id) aggregate_id, kind FROM outbox WHERE aggregate = 'order'
    ORDER BY aggregate_id, aggregate_version DESC
"""


class Ledger:
    """Read once, for all cases."""

    def __init__(self) -> None:
        self._money: dict[str, tuple[int, int]] = {}
        self._goods: dict[str, tuple[int, int]] = {}
        self._orders: dict[str, tuple[str, str | None, bool]] = {}
        self._legs: dict[str, list[int]] = {}
        self._shipped_to: dict[str, str] = {}
        self._last_event: dict[str, str] = {}

    async def read(self, world: World) -> None:
        everywhere = world.everywhere
        self._money = _by_id(await everywhere("SELECT id, posted, held FROM account WHERE kind = 'customer'"))
        self._goods = _by_id(await everywhere("SELECT sku, on_hand, reserved FROM stock"))
        self._orders = _by_id(await everywhere(_ORDERS))
        self._shipped_to = _pairs(await everywhere("SELECT order_id, ship_to ->> 'name' FROM shipment"))
        self._last_event = _pairs(await everywhere(_LAST_EVENTS))
        for saga_id, amount in await everywhere("SELECT saga_id, amount FROM clearing_leg"):
            self._legs.setdefault(saga_id, []).append(amount)

    def judge(self, saga: WatchedSaga, goods: Goods) -> None:
        """Adds to the saga's faults what its rows have against it."""
        case = saga.case
        if goods.first is not None:
            return  # The rows are the first order's; `verify` has looked at them.
        row = self._orders.get(goods.order.order_id)
        ending = _ending(row)
        if ending not in case.endings:
            saga.faults.append(f"ended as {row}, expected one of {sorted(map(str, case.endings))}")
        confirmed = ending is not None and ending.status is OrderStatus.CONFIRMED
        expect(saga, "money", self._money.get(goods.customer_id), self._money_after(goods, confirmed))
        left = {goods.near: NEAR_QUANTITY, goods.far: FAR_QUANTITY} if confirmed else {}
        for product in goods.products:
            expected = (product.stock - left.get(product.sku, 0), 0)
            expect(saga, f"stock of {product.sku}", self._goods.get(product.sku), expected)
        legs = sorted(self._legs.get(saga.saga_id, []))
        expect(saga, "clearing legs", legs, [-TOTAL_MINOR, TOTAL_MINOR] if confirmed else [])
        shipped_to = self._shipped_to.get(goods.order.order_id)
        expect(saga, "shipped to", shipped_to, goods.customer_id if confirmed else None)
        if ending is not None and row is not None and row[2]:
            event = self._last_event.get(goods.order.order_id)
            expect(saga, "last event", event, f"Order{ending.status.capitalize()}")
        self._judge_answers(saga, ending)

    def _money_after(self, goods: Goods, confirmed: bool) -> tuple[int, int] | None:
        customer = goods.customer
        if customer is None:
            return None
        return customer.opening_balance.minor - (TOTAL_MINOR if confirmed else 0), 0

    def _judge_answers(self, saga: WatchedSaga, ending: Ending | None) -> None:
        if saga.result is not None and ending is not None:
            result = Ending(saga.result.status, saga.result.refusal.reason if saga.result.refusal else None)
            expect(saga, "the workflow's result", result, ending)
        for decision in saga.cancel_answers:
            reason = decision.refusal.reason if decision.refusal else None
            if ending is not None:
                expect(saga, "a cancel's answer", (decision.is_confirmed, reason), _as_answer(ending))


def expect(saga: WatchedSaga, what: str, found: object, expected: object) -> None:
    if found != expected:
        saga.faults.append(f"{what}: {found}, expected {expected}")


def _as_answer(ending: Ending) -> tuple[bool, object]:
    return ending.status is OrderStatus.CONFIRMED, ending.reason


def _ending(row: tuple[str, str | None, bool] | None) -> Ending | None:
    if row is None or row[0] not in (OrderStatus.CONFIRMED, OrderStatus.REJECTED, OrderStatus.CANCELLED):
        return None
    status = OrderStatus.CANCELLED if row[1] == "cancelled" else OrderStatus(row[0])
    return Ending(status, Reason(row[1]) if row[1] else None)


def _pairs(rows: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    return {row[0]: row[1] for row in rows}


def _by_id(rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    return {row[0]: row[1:] for row in rows}


def sagas_by_id(sagas: Sequence[WatchedSaga]) -> dict[str, WatchedSaga]:
    return {saga.saga_id: saga for saga in sagas}
