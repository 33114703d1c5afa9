"""An order as an orchestrated saga.

    claim the id ─▶ open the order, hold the payment ─▶ reserve stock in every range ─▶ DECIDE
                                                                                          │
      merchant's credit, stock consumed  ◀── confirmed (payment captured, shipment asked) ┤
      stock released, hold released, order closed  ◀── aborting ──────────────────────────┘

The pivot is `decide_order`, a compare-and-set on the order's row: before it every step can be undone, after it every
step only goes forward. The workflow asks, the row decides; what the workflow remembers is not relied upon.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from activities.interfaces import (
    AbortOrder,
    Claimed,
    CreditMerchant,
    DecideOrder,
    OpenOrder,
    OrderActivities,
    PaymentActivities,
    Priced,
    RefuseOrderId,
    StockActivities,
    StockShare,
    StockStep,
)
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, OrderStatus, PricedLine, closing_state, total_of
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from domain.steps import decision_wanted
from workflows.interfaces import OrderResult, PlaceOrder
from workflows.saga_steps import SagaSteps, first_refusal, shielded, why_abort
from workflows.visibility import CANCELLATION_WINDOW, of_saga, show_stuck, why

TASK_QUEUE = "orders"

ORDER_STATUS = SearchAttributeKey.for_keyword("OrderStatus")
SHARD = SearchAttributeKey.for_keyword("Shard")

CANCELLED = Refusal(Reason.CANCELLED, "cancelled before it was confirmed")


def workflow_id(order_id: str) -> str:
    """In the orchestrated style the workflow is named after its saga."""
    return order_saga_id(order_id)


@workflow.defn(name="OrderSaga")
class OrderSaga:
    @workflow.init
    def __init__(self, request: PlaceOrder) -> None:
        self._request = request
        self._order = request.order
        self._saga_id = order_saga_id(request.order.order_id)
        self._steps = SagaSteps(request.options, self._on_stuck_changed)
        self._status = OrderStatus.PENDING
        self._details = ""
        self._decision: Decision | None = None
        self._forward: asyncio.Task[Refusal | None] | None = None
        self._cancel_requested = False

    @workflow.run
    async def run(self, request: PlaceOrder) -> OrderResult:
        claimed = await shielded(self._claim(), self._on_cancel)
        refusal = claimed.refusal or await self._go_forward(claimed)
        result = await shielded(self._end(claimed, refusal), self._on_cancel)
        await shielded(workflow.wait_condition(workflow.all_handlers_finished), self._on_cancel)
        return result

    @workflow.update
    async def cancel(self) -> Decision:
        """Asks for the order to be cancelled; answers what was decided, which may be `confirmed`.

        The same as Temporal's own cancel, with an answer. Idempotent.
        """
        self._on_cancel()
        await workflow.wait_condition(lambda: self._decision is not None)
        assert self._decision is not None
        return self._decision

    @workflow.update
    async def retry(self) -> OrderStatus:
        """Gives every waiting step a fresh attempt at once. Harmless where none is waiting."""
        self._steps.retry_now()
        return self._status

    async def _claim(self) -> Claimed:
        return await self._steps.to_the_end(OrderActivities.claim_order_id, self._order, order_id=self._order.order_id)

    # ── forward, until the decision ─────────────────────────────────────────────────────────────────────────

    async def _go_forward(self, claimed: Claimed) -> Refusal | None:
        """Why the order must be aborted, or None: it can be confirmed."""
        if self._cancel_requested:
            return CANCELLED
        self._forward = asyncio.create_task(self._forward_steps(claimed))
        return await why_abort(self._forward, CANCELLED)

    async def _forward_steps(self, claimed: Claimed) -> Refusal | None:
        order = self._order
        priced = await price(self._steps, order)
        if isinstance(priced, Refusal):
            return priced
        lines, total = priced
        self._tell(f"pending: {total}")
        opened = await self._steps.attempt(
            OrderActivities.open_order,
            OpenOrder(order, lines, total),
            total=total,
            customer_id=order.customer_id,
        )
        refusal = opened.refusal or await self._reserve_stock(claimed.stock)
        if refusal is None:
            await self._cancellation_window()
        return refusal

    async def _reserve_stock(self, stock: Sequence[StockShare]) -> Refusal | None:
        return await first_refusal(
            self._steps.attempt(
                StockActivities.reserve_stock, self._stock_step(share), part=share.sku_range, goods=goods_of(share)
            )
            for share in stock
        )

    async def _cancellation_window(self) -> None:
        seconds = self._request.cancellation_window_seconds
        if seconds > 0:
            await workflow.sleep(seconds, summary=CANCELLATION_WINDOW)

    # ── the decision, and what follows from it ──────────────────────────────────────────────────────────────

    async def _end(self, claimed: Claimed, refusal: Refusal | None) -> OrderResult:
        if claimed.refusal is not None:
            # The id names another order, or reactors carry this one out: nothing here is ours to decide or undo.
            self._decision = Decision(SagaOutcome.ABSENT, claimed.refusal)
            self._tell(why(OrderStatus.REJECTED, claimed.refusal))
            return self._result(OrderStatus.REJECTED)
        order = self._order
        self._decision = decision = await self._steps.to_the_end(
            OrderActivities.decide_order,
            DecideOrder(order.order_id, order.customer_id, refusal),
            because=decision_wanted(refusal.reason if refusal else None),
        )
        if decision.is_confirmed:
            self._tell(f"confirmed: {decision.total} captured")
            await self._complete(claimed, decision)
            shards = ", ".join(dict.fromkeys(share.shard for share in claimed.stock))
            self._tell(f"confirmed: {decision.total} captured, stock consumed on {shards}")
            return self._result(OrderStatus.CONFIRMED)
        reason = decision.refusal or ALREADY_COMPENSATED
        ended = OrderStatus.of_state(closing_state(reason.reason))
        self._set_status(OrderStatus.COMPENSATING)
        self._tell(why(OrderStatus.COMPENSATING, reason))
        await self._compensate(claimed, decision.outcome, reason)
        self._tell(why(ended, reason))
        return self._result(ended)

    async def _complete(self, claimed: Claimed, decision: Decision) -> None:
        forward = [
            self._steps.to_the_end(
                StockActivities.consume_stock, self._stock_step(share), part=share.sku_range, goods=goods_of(share)
            )
            for share in claimed.stock
        ]
        if decision.total is not None and decision.total.minor > 0:
            forward.append(
                self._steps.to_the_end(
                    PaymentActivities.credit_merchant,
                    CreditMerchant(self._saga_id, self._order.customer_id, decision.total),
                    total=decision.total,
                )
            )
        await asyncio.gather(*forward)

    async def _compensate(self, claimed: Claimed, outcome: SagaOutcome, refusal: Refusal) -> None:
        """Undoes every step, reached or not: undoing what never ran is safe, and bars it from running late."""
        order = self._order
        await asyncio.gather(
            *(
                self._steps.to_the_end(
                    StockActivities.release_stock, self._stock_step(share), part=share.sku_range, goods=goods_of(share)
                )
                for share in claimed.stock
            )
        )
        await self._steps.to_the_end(
            OrderActivities.abort_order,
            AbortOrder(order.order_id, order.customer_id, refusal),
            because=refusal.reason,
        )
        if outcome is SagaOutcome.ABSENT:
            await self._steps.to_the_end(
                OrderActivities.refuse_order_id,
                RefuseOrderId(order, refusal),
                because=refusal.reason,
            )

    def _stock_step(self, share: StockShare) -> StockStep:
        return StockStep(self._saga_id, self._order.currency, share)

    # ── what others see ─────────────────────────────────────────────────────────────────────────────────────

    def _on_cancel(self) -> None:
        self._cancel_requested = True
        if self._forward is not None:
            self._forward.cancel()

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        show_stuck(stuck, self._details)
        self._upsert(OrderStatus.STUCK if stuck else self._status)

    def _tell(self, details: str) -> None:
        """While nothing is stuck."""
        self._details = details
        workflow.set_current_details(details)

    def _set_status(self, status: OrderStatus) -> None:
        self._status = status
        self._upsert(status)

    def _upsert(self, status: OrderStatus) -> None:
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(status), *of_saga(self._saga_id)])

    def _result(self, status: OrderStatus) -> OrderResult:
        assert self._decision is not None
        self._set_status(status)
        order = self._order
        return OrderResult(order.order_id, status, self._decision.refusal, self._decision.total, order.content_hash)


async def price(steps: SagaSteps, order: Order) -> tuple[tuple[PricedLine, ...], Money] | Refusal:
    """The lines and their total, at the agreed prices, the catalogue's where there is none."""
    lines = await _price_lines(steps, order)
    if isinstance(lines, Refusal):
        return lines
    total = total_of(lines, order.currency)
    return total if isinstance(total, Refusal) else (lines, total)


async def _price_lines(steps: SagaSteps, order: Order) -> tuple[PricedLine, ...] | Refusal:
    agreed = tuple(PricedLine(line.sku, line.quantity, line.unit_price) for line in order.lines if line.unit_price)
    if len(agreed) == len(order.lines):
        return agreed
    priced: Priced = await steps.attempt(OrderActivities.price_lines, order)
    return priced.refusal or priced.lines


def goods_of(share: StockShare) -> str:
    """A share for a person, as the summaries of its steps carry it."""
    goods = ", ".join(f"{quantity} x {sku}" for sku, quantity in share.quantities.items())
    return f"on {share.shard}: {goods if len(goods) <= 120 else goods[:119] + '…'}"
