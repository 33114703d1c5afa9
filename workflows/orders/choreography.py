"""An order as a choreographed saga: no coordinator, each service reacts to the events of the others.

    orders     place ─▶ OrderPlaced                                                    (`workflows/orders/placement.py`)
    inventory     OrderPlaced ─▶ reserve stock in every range ─▶ StockReserved | StockRefused
    payment          StockReserved ─▶ hold the payment ─▶ PaymentHeld | PaymentRefused
    orders              PaymentHeld ─▶ DECIDE: confirm ─▶ OrderConfirmed (payment captured)
    shipping               OrderConfirmed ─▶ stock consumed
    payment                OrderConfirmed ─▶ merchant credited

    orders              StockRefused, PaymentRefused ─▶ DECIDE: abort ─▶ OrderAborting
    inventory              OrderAborting ─▶ stock released in every range ─▶ StockReleased
    orders                    StockReleased ─▶ hold released, order closed ─▶ OrderRejected | OrderCancelled

The steps, their barriers and the one decision on the order's row are those of `workflows/orders/saga.py`. Before the
decision a reactor that is cancelled, or whose step fails for good, records a refusal; after it each runs to its end.
`domain/choreography.py` declares which reactor reacts to which event.
"""

from __future__ import annotations

import asyncio

from temporalio import workflow

from activities import interfaces
from activities.interfaces import ChoreographyActivities, OrderActivities, PaymentActivities, StockActivities
from domain.choreography import OrderEvent, Reactor
from domain.orders import OrderStatus, closing_state
from domain.sagas import ALREADY_COMPENSATED, Refusal
from domain.steps import requested_decision
from workflows.interfaces import Reacted, Reaction
from workflows.orders.reactor_workflow import ReactorWorkflow
from workflows.orders.saga import CANCELLED, ORDER_STATUS
from workflows.saga_steps import first_refusal, why_abort
from workflows.visibility import CANCELLATION_WINDOW

# ── forward, until the decision ─────────────────────────────────────────────────────────────────────────────


@workflow.defn(name=Reactor.RESERVE_STOCK.workflow_type)
class ReserveStock(ReactorWorkflow):
    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        reserved = first_refusal(
            self._steps.abortable(StockActivities.reserve_stock, step, part=step.share.sku_range, goods=goods)
            for step, goods in self._shares()
        )
        refusal = await why_abort(reserved, CANCELLED)
        joined = await self._run_to_the_end(ChoreographyActivities.join_stock, self._order_step(refusal))
        if joined.refusal is not None:
            return self._refused(Reacted.STOCK_REFUSED, joined.refusal)
        return self._ended(Reacted.STOCK_RESERVED, about=self._goods)


@workflow.defn(name=Reactor.HOLD_PAYMENT.workflow_type)
class HoldPayment(ReactorWorkflow):
    _refusal: Refusal | None = None

    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        failure = await why_abort(self._hold(), CANCELLED)
        if failure is not None:
            recorded = await self._run_to_the_end(
                ChoreographyActivities.hold_payment, self._order_step(failure), because=failure.reason
            )
            self._refusal = recorded.refusal or failure
        if self._refusal is not None:
            return self._refused(Reacted.PAYMENT_REFUSED, self._refusal)
        return self._ended(Reacted.PAYMENT_HELD, about=f"{self._order.total} on account {self._order.customer_id}")

    async def _hold(self) -> None:
        """If this step refuses, it has recorded that itself, and no further step is needed."""
        held = await self._steps.abortable(
            ChoreographyActivities.hold_payment,
            self._order_step(),
            total=self._order.total,
            customer_id=self._order.customer_id,
        )
        self._refusal = held.refusal


# ── the decision ────────────────────────────────────────────────────────────────────────────────────────────


@workflow.defn(name=Reactor.CONFIRM_ORDER.workflow_type)
class ConfirmOrder(ReactorWorkflow):
    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        refusal = await why_abort(self._cancellation_window(), CANCELLED)
        decision = await self._run_to_the_end(
            OrderActivities.decide_order,
            interfaces.DecideOrder(event.order_id, self._order.customer_id, refusal),
            because=requested_decision(refusal.reason if refusal else None),
        )
        if not decision.is_confirmed:
            return self._ended(Reacted.ABORTING, decision.refusal)
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(OrderStatus.CONFIRMED)])
        return self._ended(Reacted.CONFIRMED, about=f"{self._order.total} captured")

    async def _cancellation_window(self) -> Refusal | None:
        seconds = self._order.cancellation_window_seconds
        if seconds > 0:
            await workflow.sleep(seconds, summary=CANCELLATION_WINDOW)
        return None


@workflow.defn(name=Reactor.ABORT_ORDER.workflow_type)
class AbortOrder(ReactorWorkflow):
    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        refusal = self._order.refusal or ALREADY_COMPENSATED
        decision = await self._run_to_the_end(
            OrderActivities.decide_order,
            interfaces.DecideOrder(event.order_id, self._order.customer_id, refusal),
            because=requested_decision(refusal.reason),
        )
        if decision.is_confirmed:
            return self._ended(Reacted.PASSED_OVER, about="the order is confirmed")
        return self._ended(Reacted.ABORTING, decision.refusal)


# ── forward only, after it was confirmed ────────────────────────────────────────────────────────────────────


@workflow.defn(name=Reactor.SHIP_ORDER.workflow_type)
class ShipOrder(ReactorWorkflow):
    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        await self._shielded(self._consume())
        return self._ended(Reacted.STOCK_CONSUMED, about=self._goods)

    async def _consume(self) -> None:
        await asyncio.gather(
            *(
                self._steps.to_the_end(StockActivities.consume_stock, step, part=step.share.sku_range, goods=goods)
                for step, goods in self._shares()
            )
        )


@workflow.defn(name=Reactor.CREDIT_MERCHANT.workflow_type)
class CreditMerchant(ReactorWorkflow):
    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        order = self._order
        if order.total.minor > 0:
            credit = interfaces.CreditMerchant(event.saga_id, order.customer_id, order.total)
            await self._run_to_the_end(PaymentActivities.credit_merchant, credit, total=order.total)
        return self._ended(Reacted.MERCHANT_CREDITED, about=str(order.total))


# ── backwards, after it was aborted ─────────────────────────────────────────────────────────────────────────


@workflow.defn(name=Reactor.RELEASE_STOCK.workflow_type)
class ReleaseStock(ReactorWorkflow):
    """Releases every share, reserved or not: releasing one that never was reserved is safe, and bars it from being
    reserved late."""

    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        await self._shielded(self._release())
        await self._run_to_the_end(ChoreographyActivities.join_release, self._order_step())
        return self._ended(Reacted.STOCK_RELEASED, about=self._goods)

    async def _release(self) -> None:
        await asyncio.gather(
            *(
                self._steps.to_the_end(StockActivities.release_stock, step, part=step.share.sku_range, goods=goods)
                for step, goods in self._shares()
            )
        )


@workflow.defn(name=Reactor.CLOSE_ORDER.workflow_type)
class CloseOrder(ReactorWorkflow):
    @workflow.run
    async def run(self, event: OrderEvent) -> Reaction:
        refusal = self._order.refusal or ALREADY_COMPENSATED
        await self._run_to_the_end(
            OrderActivities.abort_order,
            interfaces.AbortOrder(event.order_id, self._order.customer_id, refusal),
            because=refusal.reason,
        )
        ended = OrderStatus.of_state(closing_state(refusal.reason))
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(ended)])
        return self._ended(Reacted(ended), refusal)


REACTORS: dict[Reactor, type[ReactorWorkflow]] = {
    Reactor.RESERVE_STOCK: ReserveStock,
    Reactor.HOLD_PAYMENT: HoldPayment,
    Reactor.CONFIRM_ORDER: ConfirmOrder,
    Reactor.ABORT_ORDER: AbortOrder,
    Reactor.SHIP_ORDER: ShipOrder,
    Reactor.CREDIT_MERCHANT: CreditMerchant,
    Reactor.RELEASE_STOCK: ReleaseStock,
    Reactor.CLOSE_ORDER: CloseOrder,
}
