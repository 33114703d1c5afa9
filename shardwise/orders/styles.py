"""Orders of both styles: each is carried out in the style it requests, or in that in which its id was first claimed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from temporalio.client import Client

from domain.choreography import placement_id
from domain.identifiers import order_saga_id
from domain.orders import Order, Style
from domain.sagas import Reason
from shards.routing.router import Router
from shardwise.orders.choreographed import ChoreographedOrders
from shardwise.orders.sagas import ObservedWorkflow, OrderSagas
from shardwise.temporal.calls import Workflows
from shardwise.temporal.other_workflows import assert_ours
from stack.settings import Settings
from workflows.interfaces import OrderResult


class OrderStyles:
    def __init__(self, temporal: Callable[[], Awaitable[Client]], router: Router, settings: Settings) -> None:
        self._temporal = temporal
        workflows = Workflows(temporal)
        self.orchestrated = OrderSagas(workflows, settings)
        self.choreographed = ChoreographedOrders(workflows, router, settings)

    async def carry_out(self, order: Order, customer_shard: str, seconds: float) -> OrderResult | None:
        """In the order's style: see `OrderSagas.carry_out`. A repeat in the other style joins the first."""
        began = time.monotonic()
        result = await self._in(order.style).carry_out(order, customer_shard, seconds)
        if result is None or result.refusal is None or result.refusal.reason is not Reason.OTHER_STYLE:
            return result
        other = replace(order, style=order.style.other)
        return await self._in(other.style).carry_out(other, customer_shard, began + seconds - time.monotonic())

    async def cancel(self, order: Order, customer_shard: str, seconds: float) -> None:
        """For an order whose id is claimed, in this style."""
        if order.style is Style.CHOREOGRAPHED:
            await self.choreographed.cancel(order, seconds)
        else:
            await self.orchestrated.cancel_or_begin(order, customer_shard, seconds)

    async def cancel_unclaimed(self, order_id: str, seconds: float) -> None:
        """For an order whose id is not claimed yet, in whichever style it was placed."""
        await asyncio.gather(
            self.orchestrated.cancel(order_id, seconds), self.choreographed.cancel_placement(order_id, seconds)
        )

    async def resume(self, order: Order, customer_shard: str, is_decided: bool) -> None:
        """For an order that no workflow works on: starts again what its rows say is due. Joins a workflow that runs."""
        if order.style is Style.CHOREOGRAPHED:
            await self.choreographed.resume(order, customer_shard)
        else:
            await self.orchestrated.start(order, customer_shard, is_decided=is_decided)

    async def retry(self, order_id: str, style: Style, seconds: float) -> bool:
        return await self._in(style).retry(order_id, seconds)

    async def observe(self, order_id: str, style: Style) -> ObservedWorkflow | None:
        return await self._in(style).observe(order_id)

    async def waits_for(self, order_id: str, style: Style) -> str | None:
        return await self._in(style).waits_for(order_id)

    async def assert_ours(self, order_id: str, style: Style) -> None:
        """`Refused` with `id_held` if a workflow that is none of ours holds the id under which the order begins."""
        workflow_id = placement_id(order_id) if style is Style.CHOREOGRAPHED else order_saga_id(order_id)
        await assert_ours(await self._temporal(), workflow_id)

    async def request_of(self, order_id: str, style: Style) -> Order | None:
        """The order its workflow was started with; None if Temporal does not know or does not answer. `InvalidInput` if
        its entrance refuses it."""
        return await self._in(style).request_of(order_id)

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""
        found = await asyncio.gather(self.orchestrated.stuck_order_ids(), self.choreographed.stuck_order_ids())
        answers = [each for each in found if each is not None]
        return [order_id for each in answers for order_id in each] if len(answers) == len(found) else None

    async def has_worker(self, style: Style) -> bool:
        """Whether workers poll for all that an order of this style needs."""
        if style is Style.CHOREOGRAPHED:
            return await self.choreographed.has_workers()
        return await self.orchestrated.has_worker()

    def _in(self, style: Style) -> OrderSagas | ChoreographedOrders:
        return self.choreographed if style is Style.CHOREOGRAPHED else self.orchestrated
