"""Carries orders out by calling the activities of their saga directly, one after the other, without Temporal."""

from __future__ import annotations

from activities.interfaces import CreditMerchant, DecideOrder, OpenOrder, StockStep
from activities.orders import ShardedOrderActivities
from activities.payments import ShardedPaymentActivities
from activities.stock import ShardedStockActivities
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, PricedLine, total_of
from shards.routing.router import Router


class DirectOrders:
    """Carries orders out, each to `confirmed`; anything else is an error."""

    def __init__(self, router: Router) -> None:
        self._orders = ShardedOrderActivities(router)
        self._stock = ShardedStockActivities(router)
        self._payments = ShardedPaymentActivities(router)

    async def carry_out(self, order: Order) -> None:
        saga_id = order_saga_id(order.order_id)
        lines = tuple(PricedLine(x.sku, x.quantity, x.unit_price) for x in order.lines if x.unit_price)
        total = total_of(lines, order.currency)
        assert isinstance(total, Money)
        claimed = await self._orders.claim_order_id(order)
        steps = [StockStep(saga_id, order.currency, share) for share in claimed.stock]
        assert (await self._orders.open_order(OpenOrder(order, lines, total))).refusal is None
        for step in steps:
            assert (await self._stock.reserve_stock(step)).refusal is None
        decided = await self._orders.decide_order(DecideOrder(order.order_id, order.customer_id, None))
        assert decided.is_confirmed, decided
        for step in steps:
            await self._stock.consume_stock(step)
        await self._payments.credit_merchant(CreditMerchant(saga_id, order.customer_id, total))
