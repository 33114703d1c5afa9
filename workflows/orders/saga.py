"""An order as an orchestrated saga.

    claim the id ─▶ open the order, hold the payment ─▶ reserve stock in every range ─▶ DECIDE
                                                                                          │
      merchant's credit, stock consumed  ◀── confirmed (payment captured, shipment asked) ┤
      stock released, hold released, order closed  ◀── aborting ──────────────────────────┘

The pivot is `decide_order`, a compare-and-set on the order's row: before it every step can be undone, after it every
step only goes forward. The workflow requests, the row decides; nothing relies on what the workflow remembers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

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
from domain.steps import requested_decision
from workflows.interfaces import OrderResult, PlaceOrder
from workflows.saga_steps import SagaSteps, first_refusal, shielded, why_abort
from workflows.visibility import CANCELLATION_WINDOW, saga_attribute, show_stuck, with_reason

TASK_QUEUE = "orders"

R = TypeVar("R")

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
        self._cancellable: asyncio.Task[Refusal | None] | None = None
        self._cancel_requested = False

    @workflow.run
    async def run(self, request: PlaceOrder) -> OrderResult:
        claimed = await self._shielded(self._claim_id())
        if claimed.refusal is not None:
            # The id names another order, or the choreographed style carries this one out already: there is nothing to
            # decide or undo here.
            return await self._turn_away(claimed.refusal)

        refusal = await self._unless_cancelled(self._open_and_hold())
        refusal = refusal or await self._unless_cancelled(self._reserve_stock(claimed.stock))
        refusal = refusal or await self._unless_cancelled(self._cancellation_window())

        decision = await self._shielded(self._decide(refusal))
        if decision.is_confirmed:
            status = await self._shielded(self._complete(claimed.stock, decision))
        else:
            status = await self._shielded(self._compensate(claimed.stock, decision))
        return await self._close(status, decision)

    @workflow.update
    async def cancel(self) -> Decision:
        """Requests cancellation; returns what was decided, which may be `confirmed`.

        The same as Temporal's own cancel, with a result. Idempotent.
        """
        self._on_cancel()
        await workflow.wait_condition(lambda: self._decision is not None)
        assert self._decision is not None
        return self._decision

    @workflow.update
    async def retry(self) -> OrderStatus:
        """Gives every waiting step a fresh attempt at once. Harmless if none is waiting."""
        self._steps.retry_now()
        return self._status

    async def _claim_id(self) -> Claimed:
        return await self._steps.to_the_end(OrderActivities.claim_order_id, self._order, order_id=self._order.order_id)

    # ── before the decision: each returns why the order must be aborted, or None ────────────────────────────────

    async def _open_and_hold(self) -> Refusal | None:
        order = self._order
        priced = await price(self._steps, order)
        if isinstance(priced, Refusal):
            return priced
        lines, total = priced
        self._show_details(f"pending: {total}")
        opened = await self._steps.abortable(
            OrderActivities.open_order,
            OpenOrder(order, lines, total),
            total=total,
            customer_id=order.customer_id,
        )
        return opened.refusal

    async def _reserve_stock(self, stock: Sequence[StockShare]) -> Refusal | None:
        return await first_refusal(
            self._steps.abortable(
                StockActivities.reserve_stock, self._stock_step(share), part=share.sku_range, goods=goods_of(share)
            )
            for share in stock
        )

    async def _cancellation_window(self) -> Refusal | None:
        seconds = self._request.cancellation_window_seconds
        if seconds > 0:
            await workflow.sleep(seconds, summary=CANCELLATION_WINDOW)
        return None

    async def _unless_cancelled(self, work: Coroutine[Any, Any, Refusal | None]) -> Refusal | None:
        """Runs `work`, which a cancel ends early. A cancel, like a step that failed for good, aborts the
        order too, and is passed on as a refusal."""
        if self._cancel_requested:
            work.close()
            return CANCELLED
        self._cancellable = asyncio.create_task(work)
        return await why_abort(self._cancellable, CANCELLED)

    # ── the decision, and what follows from it ──────────────────────────────────────────────────────────────────

    async def _decide(self, refusal: Refusal | None) -> Decision:
        self._decision = await self._steps.to_the_end(
            OrderActivities.decide_order,
            DecideOrder(self._order.order_id, self._order.customer_id, refusal),
            because=requested_decision(refusal.reason if refusal else None),
        )
        return self._decision

    async def _complete(self, stock: Sequence[StockShare], decision: Decision) -> OrderStatus:
        self._show_details(f"confirmed: {decision.total} captured")
        steps = [
            self._steps.to_the_end(
                StockActivities.consume_stock, self._stock_step(share), part=share.sku_range, goods=goods_of(share)
            )
            for share in stock
        ]
        if decision.total is not None and decision.total.minor > 0:
            steps.append(
                self._steps.to_the_end(
                    PaymentActivities.credit_merchant,
                    CreditMerchant(self._saga_id, self._order.customer_id, decision.total),
                    total=decision.total,
                )
            )
        await asyncio.gather(*steps)
        shards = ", ".join(dict.fromkeys(share.shard for share in stock))
        self._show_details(f"confirmed: {decision.total} captured, stock consumed on {shards}")
        return OrderStatus.CONFIRMED

    async def _compensate(self, stock: Sequence[StockShare], decision: Decision) -> OrderStatus:
        """Undoes every step, reached or not: undoing what never ran is safe, and bars it from running late."""
        order, refusal = self._order, decision.refusal or ALREADY_COMPENSATED
        self._set_status(OrderStatus.COMPENSATING)
        self._show_details(with_reason(OrderStatus.COMPENSATING, refusal))
        await asyncio.gather(
            *(
                self._steps.to_the_end(
                    StockActivities.release_stock, self._stock_step(share), part=share.sku_range, goods=goods_of(share)
                )
                for share in stock
            )
        )
        await self._steps.to_the_end(
            OrderActivities.abort_order,
            AbortOrder(order.order_id, order.customer_id, refusal),
            because=refusal.reason,
        )
        if decision.outcome is SagaOutcome.ABSENT:
            await self._steps.to_the_end(
                OrderActivities.refuse_order_id,
                RefuseOrderId(order, refusal),
                because=refusal.reason,
            )
        status = OrderStatus.of_state(closing_state(refusal.reason))
        self._show_details(with_reason(status, refusal))
        return status

    async def _turn_away(self, refusal: Refusal) -> OrderResult:
        self._decision = decision = Decision(SagaOutcome.ABSENT, refusal)
        self._show_details(with_reason(OrderStatus.REJECTED, refusal))
        return await self._close(OrderStatus.REJECTED, decision)

    async def _close(self, status: OrderStatus, decision: Decision) -> OrderResult:
        """Waits for the updates that are still running, which must get their results."""
        self._set_status(status)
        await self._shielded(workflow.wait_condition(workflow.all_handlers_finished))
        order = self._order
        return OrderResult(order.order_id, status, decision.refusal, decision.total, order.content_hash)

    async def _shielded(self, work: Coroutine[Any, Any, R]) -> R:
        return await shielded(work, self._on_cancel)

    def _stock_step(self, share: StockShare) -> StockStep:
        return StockStep(self._saga_id, self._order.currency, share)

    # ── what others see ─────────────────────────────────────────────────────────────────────────────────────────

    def _on_cancel(self) -> None:
        self._cancel_requested = True
        if self._cancellable is not None:
            self._cancellable.cancel()

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        show_stuck(stuck, self._details)
        self._upsert(OrderStatus.STUCK if stuck else self._status)

    def _show_details(self, details: str) -> None:
        """Call it only while nothing is stuck: it replaces what `show_stuck` shows."""
        self._details = details
        workflow.set_current_details(details)

    def _set_status(self, status: OrderStatus) -> None:
        self._status = status
        self._upsert(status)

    def _upsert(self, status: OrderStatus) -> None:
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(status), *saga_attribute(self._saga_id)])


async def price(steps: SagaSteps, order: Order) -> tuple[tuple[PricedLine, ...], Money] | Refusal:
    """The lines and their total, at the agreed prices; the catalogue's for lines without one."""
    lines = await _price_lines(steps, order)
    if isinstance(lines, Refusal):
        return lines
    total = total_of(lines, order.currency)
    return total if isinstance(total, Refusal) else (lines, total)


async def _price_lines(steps: SagaSteps, order: Order) -> tuple[PricedLine, ...] | Refusal:
    agreed = tuple(PricedLine(line.sku, line.quantity, line.unit_price) for line in order.lines if line.unit_price)
    if len(agreed) == len(order.lines):
        return agreed
    priced: Priced = await steps.abortable(OrderActivities.price_lines, order)
    return priced.refusal or priced.lines


def goods_of(share: StockShare) -> str:
    """A share as text, for the summaries of its steps."""
    goods = ", ".join(f"{quantity} x {sku}" for sku, quantity in share.quantities.items())
    return f"on {share.shard}: {goods if len(goods) <= 120 else goods[:119] + '…'}"
