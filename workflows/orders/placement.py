"""Placing a choreographed order: a short workflow that makes its acceptance durable, up to its first event.

claim the id ─▶ look up prices ─▶ write the order, pending ─▶ OrderPlaced          (`workflows/orders/choreography.py`)
                                         └▶ refused: the reason is kept beside the id

`recover` starts it again for an order whose row was lost when its shard was restored. Then the reactors may have
reserved stock on other shards. If the order can never be opened any more, this workflow releases that stock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from temporalio import workflow

from activities.interfaces import (
    ChoreographyActivities,
    Claimed,
    DecideOrder,
    OrderActivities,
    PlacedOrder,
    RefuseOrderId,
    StockActivities,
    StockStep,
)
from domain.choreography import PLACEMENT_TYPE, Choreography
from domain.identifiers import order_saga_id
from domain.orders import OrderStatus, closing_state
from domain.sagas import ALREADY_COMPENSATED, Refusal, SagaOutcome
from domain.steps import requested_decision
from workflows.interfaces import PlaceChoreographed, Placement
from workflows.orders.saga import CANCELLED, ORDER_STATUS, goods_of, price
from workflows.saga_steps import SagaSteps, shielded, why_abort
from workflows.visibility import saga_attribute, show_stuck, with_reason

R = TypeVar("R")

RELEASES_STOCK = "release-stock-of-an-absent-order"


@workflow.defn(name=PLACEMENT_TYPE)
class PlaceChoreographedOrder:
    @workflow.init
    def __init__(self, request: PlaceChoreographed) -> None:
        self._request = request
        self._order = request.order
        self._steps = SagaSteps(request.options, self._on_stuck_changed)
        self._cancel_requested = False
        self._details = ""

    @workflow.run
    async def run(self, request: PlaceChoreographed) -> Placement:
        claimed = await self._shielded(self._claim_id())
        refusal = claimed.refusal
        if refusal is None:
            failure = CANCELLED if self._cancel_requested else await why_abort(self._place(claimed), CANCELLED)
            if failure is not None:
                refusal = await self._shielded(self._refuse(claimed, failure))
        if refusal is not None:
            self._show_details(with_reason(OrderStatus.of_state(closing_state(refusal.reason)), refusal))
        return Placement(self._order.order_id, refusal, self._order.content_hash)

    @workflow.update
    async def retry(self) -> None:
        """Gives every waiting step a fresh attempt at once. Harmless if none is waiting."""
        self._steps.retry_now()

    async def _claim_id(self) -> Claimed:
        return await self._steps.to_the_end(OrderActivities.claim_order_id, self._order, order_id=self._order.order_id)

    async def _place(self, claimed: Claimed) -> Refusal | None:
        order, request = self._order, self._request
        priced = await price(self._steps, order)
        if isinstance(priced, Refusal):
            return priced
        lines, total = priced
        window = request.cancellation_window_seconds
        choreography = Choreography(order.customer_id, total, claimed.stock, None, request.options, window)
        placed = await self._steps.abortable(
            ChoreographyActivities.place_order,
            PlacedOrder(order, lines, choreography),
            total=total,
        )
        if placed.refusal is None:
            self._show_details(
                f"placed: {total}, carried out by the other workflows of its Saga, {order_saga_id(order.order_id)}"
            )
        return placed.refusal

    async def _refuse(self, claimed: Claimed, refusal: Refusal) -> Refusal | None:
        """Decides on the row. If there is a row after all, the order's events go on from its decision, and this returns
        None."""
        order = self._order
        decision = await self._steps.to_the_end(
            OrderActivities.decide_order,
            DecideOrder(order.order_id, order.customer_id, refusal),
            because=requested_decision(refusal.reason),
        )
        if decision.outcome is not SagaOutcome.ABSENT:
            return None
        kept = decision.refusal or ALREADY_COMPENSATED
        if workflow.patched(RELEASES_STOCK):
            await self._release(claimed)
        await self._steps.to_the_end(
            OrderActivities.refuse_order_id,
            RefuseOrderId(order, kept),
            because=kept.reason,
        )
        return kept

    async def _release(self, claimed: Claimed) -> None:
        """Releases every share, reserved or not: the decision has barred the order, so it needs none of them."""
        saga_id, currency = order_saga_id(self._order.order_id), self._order.currency
        await asyncio.gather(
            *(
                self._steps.to_the_end(
                    StockActivities.release_stock,
                    StockStep(saga_id, currency, share),
                    part=share.sku_range,
                    goods=goods_of(share),
                )
                for share in claimed.stock
            )
        )

    async def _shielded(self, work: Coroutine[Any, Any, R]) -> R:
        return await shielded(work, self._on_cancel)

    def _on_cancel(self) -> None:
        self._cancel_requested = True

    def _show_details(self, details: str) -> None:
        """Call it only while nothing is stuck: it replaces what `show_stuck` shows."""
        self._details = details
        workflow.set_current_details(details)

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        show_stuck(stuck, self._details)
        status = OrderStatus.STUCK if stuck else OrderStatus.PENDING
        saga = saga_attribute(order_saga_id(self._order.order_id))
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(status), *saga])
