"""What all reactors to a choreographed order's events share: how they run their steps, and what Temporal shows."""

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
from workflows.visibility import show_stuck, with_reason

A = TypeVar("A")
R = TypeVar("R")


class ReactorWorkflow:
    """Runs the steps of one reactor. The order's row has the last word on whatever it decides.

    Its event may arrive twice, and late: every step then returns its first result, or that the order has gone on.
    """

    @workflow.init
    def __init__(self, event: OrderEvent) -> None:
        self._event = event
        self._order = event.choreography
        self._steps = SagaSteps(self._order.options, self._on_stuck_changed)

    @workflow.update
    async def retry(self) -> None:
        """Gives every waiting step a fresh attempt at once. Harmless if none is waiting."""
        self._steps.retry_now()

    async def _shielded(self, work: Coroutine[Any, Any, R]) -> R:
        """For work that must be done even if the reactor is cancelled."""
        return await shielded(work, lambda: None)

    async def _run_to_the_end(
        self,
        step: Callable[[Any, A], Coroutine[Any, Any, R]],
        request: A,
        because: str | None = None,
        total: Money | None = None,
    ) -> R:
        return await self._shielded(self._steps.to_the_end(step, request, because=because, total=total))

    def _order_step(self, refusal: Refusal | None = None) -> OrderStep:
        return OrderStep(self._event.order_id, self._order.customer_id, refusal)

    def _shares(self) -> Iterator[tuple[StockStep, str]]:
        """The stock step of each SKU range, with its goods for a person to read."""
        for share in self._order.stock:
            yield StockStep(self._event.saga_id, self._order.total.currency, share), goods_of(share)

    @property
    def _goods(self) -> str:
        return "; ".join(goods for _, goods in self._shares())

    def _refused(self, outcome: Reacted, refusal: Refusal) -> Reaction:
        """The order's row refused the step, perhaps because it had been decided before."""
        return self._ended(Reacted.PASSED_OVER if refusal.reason is Reason.ALREADY_COMPENSATED else outcome, refusal)

    def _ended(self, outcome: Reacted, refusal: Refusal | None = None, about: str = "") -> Reaction:
        """The result, which it also shows in the current details. `about`: the goods or money concerned."""
        sentence = outcome.replace("_", " ")
        details = with_reason(sentence, refusal) if refusal else ": ".join(filter(None, (sentence, about)))
        workflow.set_current_details(details)
        return Reaction(outcome, refusal)

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        show_stuck(stuck, "")
        status = OrderStatus.STUCK if stuck else OrderStatus.PENDING
        workflow.upsert_search_attributes([ORDER_STATUS.value_set(status)])
