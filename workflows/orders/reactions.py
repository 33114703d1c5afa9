"""What all reactors to a choreographed order's events share: how they run their steps, and what is seen of them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from temporalio import workflow

from activities.interfaces import OrderStep, StockStep
from domain.choreography import OrderEvent
from domain.money import Money
from domain.orders import OrderStatus
from domain.sagas import Reason, Refusal
from workflows.interfaces import Reacted, Reaction
from workflows.orders.saga import ORDER_STATUS, goods_of
from workflows.saga_steps import SagaSteps, shielded
from workflows.visibility import show_stuck, why

A = TypeVar("A")
R = TypeVar("R")


class Reacting:
    """Runs the steps of one reactor, and decides nothing that the order's row could not contradict.

    Its event may be told twice and late: every step answers what it answered before, or that the order has gone on.
    """

    @workflow.init
    def __init__(self, event: OrderEvent) -> None:
        self._event = event
        self._order = event.choreography
        self._steps = SagaSteps(self._order.options, self._on_stuck_changed)

    @workflow.update
    async def retry(self) -> None:
        """Gives every waiting step a fresh attempt at once. Harmless where none is waiting."""
        self._steps.retry_now()

    async def _finish(self, work: Coroutine[Any, Any, R]) -> R:
        """What must be done now that it has come to this, whoever cancels the reactor."""
        return await shielded(work, lambda: None)

    async def _tell(
        self,
        step: Callable[[Any, A], Coroutine[Any, Any, R]],
        request: A,
        because: str | None = None,
        total: Money | None = None,
    ) -> R:
        return await self._finish(self._steps.to_the_end(step, request, because=because, total=total))

    def _order_step(self, refusal: Refusal | None = None) -> OrderStep:
        return OrderStep(self._event.order_id, self._order.customer_id, refusal)

    def _shares(self) -> Iterator[tuple[StockStep, str]]:
        """The stock step of each SKU range, and what a person calls it."""
        for share in self._order.stock:
            yield StockStep(self._event.saga_id, self._order.total.currency, share), goods_of(share)

    @property
    def _goods(self) -> str:
        return "; ".join(goods for _, goods in self._shares())

    def _refused(self, outcome: Reacted, refusal: Refusal) -> Reaction:
        """By the order's row, which may have been decided before it was asked."""
        return self._ended(Reacted.PASSED_OVER if refusal.reason is Reason.ALREADY_COMPENSATED else outcome, refusal)

    def _ended(self, outcome: Reacted, refusal: Refusal | None = None, about: str = "") -> Reaction:
        """The result, told in the current details as well. `about`: what it was done with."""
        sentence = outcome.replace("_", " ")
        details = why(sentence, refusal) if refusal else ": ".join(filter(None, (sentence, about)))
        workflow.set_current_details(details)
        return Reaction(outcome, refusal)

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        show_stuck(stuck, "")
        status = OrderStatus.STUCK if stuck else OrderStatus.PENDING
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(status)])
