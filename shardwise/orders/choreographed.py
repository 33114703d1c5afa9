"""Calls for choreographed orders: a short workflow places the order, then reactors carry it on without a coordinator.

The rows show how an order ends. The calls survive a server or a worker that restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import SearchAttributePair, WorkflowIDReusePolicy
from temporalio.service import RPCError

from activities.reactors import SAGA, start_reactor
from domain.choreography import PLACEMENT_TYPE, REACTIONS, Reactor, Service, placement_id, saga_id_of
from domain.errors import TryAgain
from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus, closing_state
from domain.sagas import Decision, SagaOptions, SagaOutcome
from shards.orders import decision as orders
from shards.orders import events as order_events
from shards.orders import lookup as order_lookup
from shards.orders.final_rows import FinalRows
from shards.orders.reads import OrderReads
from shards.routing.router import Router
from shardwise.orders.sagas import ObservedWorkflow, summary_of
from shardwise.orders.waiting import waits_for
from shardwise.temporal.calls import Workflows, WorkflowStart, answer_or_none, finished_in_time
from stack.settings import Settings
from tracing.workflow_runs import read_open
from workflows.interfaces import OrderResult, PlaceChoreographed, Placement
from workflows.orders.placement import PlaceChoreographedOrder
from workflows.orders.saga import CANCELLED, SHARD

DECIDE_TRIES_MAX = 5

Handle = WorkflowHandle[PlaceChoreographedOrder, Placement]


class ChoreographedOrders:
    def __init__(self, workflows: Workflows, router: Router, settings: Settings) -> None:
        self._workflows = workflows
        self._router = router
        self._rows = FinalRows(OrderReads(router))
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)
        self._window_seconds = settings.cancellation_window_seconds

    async def carry_out(self, order: Order, customer_shard: str, seconds: float) -> OrderResult | None:
        """Places the order and waits until its row is final; None if it is not within `seconds`.

        The contract is that of `OrderSagas.carry_out`: safe to repeat, and what has begun goes on without the caller.
        """
        began = time.monotonic()
        placed = await self._workflows.run_to_end(
            PlaceChoreographedOrder.run, self._request(order), _workflow_start(order, customer_shard), seconds
        )
        if placed is None:
            return None
        if placed.refusal is not None or placed.content_hash != order.content_hash:
            return _without_row(placed)
        row = await self._rows.final(order.order_id, order.customer_id, began + seconds - time.monotonic())
        if row is None:
            return None
        return OrderResult(order.order_id, OrderStatus.of_state(row.state), row.refusal, row.total, row.content_hash)

    async def start(self, order: Order, customer_shard: str) -> None:
        """Starts the order's placement, or joins it, and does not wait for its end. Raises `Unreachable`."""
        await self._workflows.start(
            PlaceChoreographedOrder.run, self._request(order), _workflow_start(order, customer_shard)
        )

    def _request(self, order: Order) -> PlaceChoreographed:
        return PlaceChoreographed(order, self._options, self._window_seconds)

    async def resume(self, order: Order, customer_shard: str) -> None:
        """Starts the reactors to the order's newest event again, or its placement if it has no row. Workflows that run
        are left alone; those that have ended run again, and change nothing that is done.

        If a restored shard has lost the claim of the id, the placement claims it again: no other order can be placed
        under it.
        """
        event = await self._router.read(
            lambda m: m.of_customer(order.customer_id), lambda tx: order_events.newest(tx.connection, order.order_id)
        )
        claimed = await self._router.read(
            lambda m: m.of_order_id(order.order_id), lambda tx: order_lookup.read(tx, [order.order_id])
        )
        if event is None or not claimed:
            await self.start(order, customer_shard)
        if event is None:
            return
        client, again = await self._workflows.client(), WorkflowIDReusePolicy.ALLOW_DUPLICATE
        for reactor in REACTIONS[event.kind]:
            await start_reactor(client, reactor, event, customer_shard, again)

    async def cancel(self, order: Order, seconds: float) -> None:
        """Decides by compare-and-set on the row, in one transaction; then waits for the order's end, at most `seconds`.

        The row shows whether the cancel won. An order that was not placed yet never will be. Idempotent.
        """
        decision = await self._decide_to_cancel(order)
        if decision.outcome is SagaOutcome.ABSENT:
            refusal = decision.refusal or CANCELLED
            await self._router.write(
                lambda m: m.of_order_id(order.order_id), lambda tx: order_lookup.refuse(tx, order, refusal)
            )
            return
        if decision.outcome is SagaOutcome.ABORTING:
            await answer_or_none(self._end_window(order.order_id))
        await self._rows.final(order.order_id, order.customer_id, seconds)

    async def _decide_to_cancel(self, order: Order) -> Decision:
        for _ in range(DECIDE_TRIES_MAX - 1):
            with contextlib.suppress(TryAgain):
                return await self._decide_once(order)
        return await self._decide_once(order)

    async def _decide_once(self, order: Order) -> Decision:
        return await self._router.write(
            lambda m: m.of_customer(order.customer_id), lambda tx: orders.decide(tx, order.order_id, CANCELLED)
        )

    async def _end_window(self, order_id: str) -> None:
        """For an order that is decided: cancels the reactor that still waits for the end of the cancellation window."""
        client = await self._workflows.client()
        query = f'{_running(order_id)} AND WorkflowType = "{Reactor.CONFIRM_ORDER.workflow_type}"'
        async for each in client.list_workflows(query):
            with contextlib.suppress(RPCError):
                await client.get_workflow_handle(each.id, run_id=each.run_id).cancel()

    async def cancel_placement(self, order_id: str, seconds: float) -> None:
        """For an order whose id is not claimed yet. Does nothing if no placement runs."""
        handle = await self._handle(order_id)

        async def to_the_end() -> None:
            await handle.cancel()
            await handle.result()

        await finished_in_time(to_the_end(), seconds)

    async def retry(self, order_id: str, seconds: float) -> bool:
        """Sends the request to every workflow that works on the order; False if none took it within `seconds`."""
        client = await self._workflows.client()

        async def request(workflow_id: str) -> bool:
            return await finished_in_time(client.get_workflow_handle(workflow_id).execute_update("retry"), seconds)

        running = await answer_or_none(self._workflows.ids(_running(order_id)))
        return any(await asyncio.gather(*(request(each) for each in running or ())))

    async def observe(self, order_id: str) -> ObservedWorkflow | None:
        """The order's placement, and whether a workflow that works on it is stuck. None if Temporal does not answer."""

        async def look() -> ObservedWorkflow:
            stuck = await self._workflows.ids(f'{_running(order_id)} AND OrderStatus = "{OrderStatus.STUCK}"')
            description = await self._workflows.describe(placement_id(order_id))
            if description is None:
                return ObservedWorkflow(is_running=False, is_stuck=bool(stuck), is_known=False)
            return ObservedWorkflow(description.status is WorkflowExecutionStatus.RUNNING, bool(stuck))

        return await answer_or_none(look())

    async def waits_for(self, order_id: str) -> str | None:
        """As `OrderSagas.waits_for`, for all workflows that work on it. As of a moment ago, since visibility lags."""

        async def look() -> str | None:
            client = await self._workflows.client()
            runs = await asyncio.gather(
                *(read_open(client, each) for each in await self._workflows.ids(_running(order_id)))
            )
            return waits_for([run for run in runs if run is not None])

        return await answer_or_none(look())

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""

        async def listed() -> list[str]:
            types = ", ".join(f'"{each}"' for each in (PLACEMENT_TYPE, *(each.workflow_type for each in Reactor)))
            query = f'WorkflowType IN ({types}) AND ExecutionStatus = "Running" AND OrderStatus = "{OrderStatus.STUCK}"'
            stuck = await self._workflows.ids(query)
            return [saga_id_of(each).removeprefix(order_saga_id("")) for each in stuck]

        return await answer_or_none(listed())

    async def request_of(self, order_id: str) -> Order | None:
        """As `OrderSagas.asked_for`, of the order's placement."""
        request: PlaceChoreographed | None = await self._workflows.input_of(placement_id(order_id))
        return request.order if request is not None else None

    async def has_workers(self) -> bool:
        """Whether every service has a worker."""
        return all(await asyncio.gather(*(self._workflows.has_worker(service) for service in Service)))

    async def _handle(self, order_id: str) -> Handle:
        return await self._workflows.handle(PlaceChoreographedOrder.run, placement_id(order_id))


def _without_row(placed: Placement) -> OrderResult:
    """For an order that was refused before it had a row, or for another order under the same id, which may have one."""
    refusal = placed.refusal
    status = OrderStatus.of_state(closing_state(refusal.reason)) if refusal is not None else OrderStatus.PENDING
    return OrderResult(placed.order_id, status, refusal, None, placed.content_hash)


def _running(order_id: str) -> str:
    return f'Saga = "{order_saga_id(order_id)}" AND ExecutionStatus = "Running"'


def _workflow_start(order: Order, customer_shard: str) -> WorkflowStart:
    attributes = [
        SearchAttributePair(SAGA, order_saga_id(order.order_id)),
        SearchAttributePair(SHARD, customer_shard),
    ]
    return WorkflowStart(placement_id(order.order_id), Service.ORDERS, summary_of(order), attributes)
