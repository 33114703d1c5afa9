"""What the services of an order record on its row. Contracts: `activities.interfaces.ChoreographyActivities`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import TypeAdapter
from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import ChoreographyActivities, OrderStep, PlacedOrder, StepResult
from domain.identifiers import order_saga_id
from domain.sagas import Refusal
from domain.steps import Step
from shards.orders import choreographed
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier

_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)


class ShardedChoreographyActivities(ChoreographyActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def place_order(self, request: PlacedOrder) -> StepResult:
        order = request.order
        return await self._once(
            Step.PLACE_ORDER,
            OrderStep(order.order_id, order.customer_id),
            lambda tx: choreographed.place(tx, order, request.lines, request.choreography),
        )

    @activity.defn
    @failures_translated
    async def join_stock(self, request: OrderStep) -> StepResult:
        return await self._once(
            Step.JOIN_STOCK,
            request,
            lambda tx: choreographed.join_stock(tx, request.order_id, request.refusal),
        )

    @activity.defn
    @failures_translated
    async def hold_payment(self, request: OrderStep) -> StepResult:
        return await self._once(
            Step.HOLD_PAYMENT,
            request,
            lambda tx: choreographed.hold_payment(tx, request.order_id, request.refusal),
        )

    @activity.defn
    @failures_translated
    async def join_release(self, request: OrderStep) -> None:
        await self._once(Step.JOIN_RELEASE, request, lambda tx: choreographed.join_release(tx, request.order_id))

    async def _once(
        self, step: Step, order: OrderStep, effect: Callable[[ShardTransaction], Awaitable[Refusal | None]]
    ) -> StepResult:
        async def run(tx: ShardTransaction) -> Refusal | None:
            return await barrier.do_once(
                tx, order_saga_id(order.order_id), step.barrier_step(), lambda: effect(tx), _REFUSAL
            )

        return StepResult(await self._router.write(lambda m: m.of_customer(order.customer_id), run))
