"""Placing a choreographed order: a short workflow that makes its acceptance durable, up to its first event.

claim the id ─▶ look up prices ─▶ write the order, pending ─▶ OrderPlaced          (`workflows/order_choreography.py`)
                                         └▶ refused: the reason is kept beside the id
"""

from __future__ import annotations

from collections.abc import Sequence

from temporalio import workflow

from activities.interfaces import (
    ChoreographyActivities,
    Claimed,
    DecideOrder,
    OrderActivities,
    PlacedOrder,
    RefuseOrderId,
)
from domain.choreography import PLACEMENT_TYPE, Choreography
from domain.orders import OrderStatus
from domain.sagas import ALREADY_COMPENSATED, Outcome, Refusal
from workflows.compensation import SagaSteps, shielded, why_abort
from workflows.interfaces import PlaceChoreographed, Placement
from workflows.order_saga import CANCELLED, ORDER_STATUS, price


@workflow.defn(name=PLACEMENT_TYPE)
class PlaceChoreographedOrder:
    @workflow.init
    def __init__(self, request: PlaceChoreographed) -> None:
        self._request = request
        self._order = request.order
        self._steps = SagaSteps(request.options, self._on_stuck_changed)
        self._cancelled = False

    @workflow.run
    async def run(self, request: PlaceChoreographed) -> Placement:
        order = self._order
        claimed = await shielded(self._claim(), self._on_cancel)
        refusal = claimed.refusal
        if refusal is None:
            refused = CANCELLED if self._cancelled else await why_abort(self._place(claimed), CANCELLED)
            if refused is not None:
                refusal = await shielded(self._refuse(refused), self._on_cancel)
        return Placement(order.order_id, refusal, order.content_hash)

    @workflow.update
    async def retry(self) -> None:
        """Gives every waiting step a fresh attempt at once. Harmless where none is waiting."""
        self._steps.retry_now()

    async def _claim(self) -> Claimed:
        return await self._steps.to_the_end(
            OrderActivities.claim_order_id, self._order, f"claim order id {self._order.order_id}"
        )

    async def _place(self, claimed: Claimed) -> Refusal | None:
        order, request = self._order, self._request
        priced = await price(self._steps, order)
        if isinstance(priced, Refusal):
            return priced
        lines, total = priced
        window = request.cancellation_window_seconds
        choreography = Choreography(order.customer_id, total, claimed.stock, None, request.options, window)
        placed = await self._steps.attempt(
            ChoreographyActivities.place_order,
            PlacedOrder(order, lines, choreography),
            f"place the order over {total}",
        )
        return placed.refusal

    async def _refuse(self, refusal: Refusal) -> Refusal | None:
        """Asks the row, which may be there all the same: then the order's events go on from what it has decided."""
        order = self._order
        decision = await self._steps.to_the_end(
            OrderActivities.decide_order,
            DecideOrder(order.order_id, order.customer_id, refusal),
            f"decide: abort, {refusal.reason}",
        )
        if decision.outcome is not Outcome.ABSENT:
            return None
        kept = decision.refusal or ALREADY_COMPENSATED
        await self._steps.to_the_end(
            OrderActivities.refuse_order_id,
            RefuseOrderId(order, kept),
            f"keep the reason beside the order id: {kept.reason}",
        )
        return kept

    def _on_cancel(self) -> None:
        self._cancelled = True

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        workflow.set_current_details("\n".join(f"* stuck: {step}" for step in stuck))
        status = OrderStatus.STUCK if stuck else OrderStatus.PENDING
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(status)])
