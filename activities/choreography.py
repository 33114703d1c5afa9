"""What the services tell a choreographed order's row. Contracts: `activities.interfaces.ChoreographyActivities`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from pydantic import TypeAdapter
from temporalio import activity

from activities.effects import failures_told
from activities.interfaces import ChoreographyActivities, OrderStep, PlacedOrder, StepResult
from domain.identifiers import order_saga_id
from domain.sagas import Refusal
from shards import barrier, choreographed_orders, orders
from shards.routing import Router, ShardTransaction

_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)


class ShardedChoreographyActivities(ChoreographyActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn(name="place_order")
    @failures_told
    async def place_order(self, request: PlacedOrder) -> StepResult:
        order = request.order
        return await self._once(
            orders.OPEN_STEP,
            OrderStep(order.order_id, order.customer_id),
            lambda tx: choreographed_orders.place(tx, order, request.lines, request.choreography),
        )

    @activity.defn(name="join_stock")
    @failures_told
    async def join_stock(self, request: OrderStep) -> StepResult:
        return await self._once(
            "join_stock", request, lambda tx: choreographed_orders.join_stock(tx, request.order_id, request.refusal)
        )

    @activity.defn(name="hold_payment")
    @failures_told
    async def hold_payment(self, request: OrderStep) -> StepResult:
        return await self._once(
            "hold_payment", request, lambda tx: choreographed_orders.hold_payment(tx, request.order_id, request.refusal)
        )

    @activity.defn(name="join_release")
    @failures_told
    async def join_release(self, request: OrderStep) -> None:
        await self._once("join_release", request, lambda tx: choreographed_orders.join_release(tx, request.order_id))

    async def _once(
        self, step: str, order: OrderStep, effect: Callable[[ShardTransaction], Awaitable[Refusal | None]]
    ) -> StepResult:
        async def run(tx: ShardTransaction) -> Refusal | None:
            return await barrier.do_once(tx, order_saga_id(order.order_id), step, lambda: effect(tx), _REFUSAL)

        return StepResult(await self._router.write(lambda m: m.of_customer(order.customer_id), run))
