"""Choreographed orders as seen from outside: placed by a short workflow, then carried on by reactors that nobody leads.

What their end is, their rows say. Survives a server or a worker that restarts.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from activities.reactors import SAGA, start_reactor
from cli.order_book import OrderBook
from cli.order_rows import FinalRows
from cli.order_sagas import Seen, summary_of
from cli.order_waiting import waits_for
from cli.saga_calls import (
    START_SECONDS_MIN,
    TASK_TIMEOUT,
    answered,
    as_far_as_it_goes,
    asked_of,
    carried_out,
    has_worker,
    started,
)
from cli.trace.workflow_runs import read_open
from domain.choreography import PLACEMENT_TYPE, REACTIONS, Reactor, Service, placement_id, saga_id_of
from domain.errors import TryAgain
from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus, closing_state
from domain.sagas import Decision, Outcome, SagaOptions
from shards import order_events, order_lookup, orders
from shards.routing import Router
from stack.settings import Settings
from workflows.interfaces import OrderResult, PlaceChoreographed, Placement
from workflows.order_placement import PlaceChoreographedOrder
from workflows.order_saga import CANCELLED, SHARD

STUCK_LISTED_MAX = 1000
DECIDE_TRIES_MAX = 5

Handle = WorkflowHandle[PlaceChoreographedOrder, Placement]


class ChoreographedOrders:
    def __init__(self, temporal: Callable[[], Awaitable[Client]], router: Router, settings: Settings) -> None:
        """`temporal` gives the connected client: asked when it is first needed."""
        self._temporal = temporal
        self._router = router
        self._rows = FinalRows(OrderBook(router))
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)
        self._window_seconds = settings.cancellation_window_seconds

    async def carry_out(self, order: Order, customer_shard: str, seconds: float) -> OrderResult | None:
        """Has the order placed and waits for its row to be final; None when that is not so within `seconds`.

        The contract is that of `OrderSagas.carry_out`: safe to repeat, and what has begun goes on without the caller.
        """
        began = time.monotonic()
        placed = await carried_out(lambda: self.start(order, customer_shard, max(seconds, START_SECONDS_MIN)), seconds)
        if placed is None:
            return None
        if placed.refusal is not None or placed.content_hash != order.content_hash:
            return _without_row(placed)
        row = await self._rows.final(order.order_id, order.customer_id, began + seconds - time.monotonic())
        if row is None:
            return None
        return OrderResult(order.order_id, OrderStatus.of_state(row.state), row.refusal, row.total, row.content_hash)

    async def start(self, order: Order, customer_shard: str, seconds: float = START_SECONDS_MIN) -> Handle:
        """Has the order placed, under the same id however often; waits for no more than that. Raises `Unreachable`."""
        client = await self._temporal()
        return await started(lambda: self._start(client, order, customer_shard), seconds)

    async def _start(self, client: Client, order: Order, customer_shard: str) -> Handle:
        attributes = [
            SearchAttributePair(SAGA, order_saga_id(order.order_id)),
            SearchAttributePair(SHARD, customer_shard),
        ]
        return await client.start_workflow(
            PlaceChoreographedOrder.run,
            PlaceChoreographed(order, self._options, self._window_seconds),
            id=placement_id(order.order_id),
            task_queue=Service.ORDERS,
            task_timeout=TASK_TIMEOUT,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=TypedSearchAttributes(attributes),
            static_summary=summary_of(order),
        )

    async def resume(self, order: Order, customer_shard: str) -> None:
        """Starts again what would act on the order's newest event, as its row knows it, or its placement where it has
        no row. What runs is left alone; what has ended runs again, and changes nothing that is done.

        An id whose claim a restored shard has forgotten is claimed again by the placement: no other order can be placed
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
        client, again = await self._temporal(), WorkflowIDReusePolicy.ALLOW_DUPLICATE
        for reactor in REACTIONS[event.kind]:
            await start_reactor(client, reactor, event, customer_shard, again)

    async def cancel(self, order: Order, seconds: float) -> None:
        """The row's compare-and-set, in one transaction; then waits for the order's end, at most `seconds`.

        Whether it won is for the row to say. An order that was not placed yet never will be. Idempotent.
        """
        decision = await self._decide_to_cancel(order)
        if decision.outcome is Outcome.ABSENT:
            refusal = decision.refusal or CANCELLED
            await self._router.write(
                lambda m: m.of_order_id(order.order_id), lambda tx: order_lookup.refuse(tx, order, refusal)
            )
            return
        if decision.outcome is Outcome.ABORTING:
            await answered(self._end_window(order.order_id))
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
        """Of an order that is decided: who waits for its window to pass, waits for nothing any more."""
        client = await self._temporal()
        query = f'{_running(order_id)} AND WorkflowType = "{Reactor.CONFIRM_ORDER.workflow_type}"'
        async for each in client.list_workflows(query):
            with contextlib.suppress(RPCError):
                await client.get_workflow_handle(each.id, run_id=each.run_id).cancel()

    async def cancel_placement(self, order_id: str, seconds: float) -> None:
        """Of an order whose id is not claimed yet. Nothing where no placement runs."""
        handle = await self._handle(order_id)

        async def to_the_end() -> None:
            await handle.cancel()
            await handle.result()

        await as_far_as_it_goes(to_the_end(), seconds)

    async def retry(self, order_id: str, seconds: float) -> bool:
        """Tells every workflow that works on the order now; False where none took it within `seconds`."""
        client = await self._temporal()

        async def tell(workflow_id: str) -> bool:
            return await as_far_as_it_goes(client.get_workflow_handle(workflow_id).execute_update("retry"), seconds)

        running = await answered(_ids(client, _running(order_id)))
        return any(await asyncio.gather(*(tell(each) for each in running or ())))

    async def seen(self, order_id: str) -> Seen | None:
        """What is seen of the order's placement and of who works on it. None when Temporal does not answer."""

        async def look() -> Seen:
            client = await self._temporal()
            query = f'{_running(order_id)} AND OrderStatus = "{OrderStatus.STUCK}"'
            stuck = await _ids(client, query)
            try:
                description = await (await self._handle(order_id)).describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return Seen(is_running=False, is_stuck=bool(stuck), is_known=False)
                raise
            is_running = description.status is WorkflowExecutionStatus.RUNNING
            return Seen(is_running, bool(stuck))

        return await answered(look())

    async def waits_for(self, order_id: str) -> str | None:
        """As `OrderSagas.waits_for`, of whoever works on it; a moment behind, as the list of them is."""

        async def look() -> str | None:
            client = await self._temporal()
            runs = await asyncio.gather(*(read_open(client, each) for each in await _ids(client, _running(order_id))))
            return waits_for([run for run in runs if run is not None])

        return await answered(look())

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""

        async def listed() -> list[str]:
            types = ", ".join(f'"{each}"' for each in (PLACEMENT_TYPE, *(each.workflow_type for each in Reactor)))
            query = f'WorkflowType IN ({types}) AND ExecutionStatus = "Running" AND OrderStatus = "{OrderStatus.STUCK}"'
            stuck = await _ids(await self._temporal(), query)
            return [saga_id_of(each).removeprefix(order_saga_id("")) for each in stuck]

        return await answered(listed())

    async def asked_for(self, order_id: str) -> Order | None:
        """As `OrderSagas.asked_for`, of the order's placement."""
        request: PlaceChoreographed | None = await asked_of(await self._handle(order_id))
        return request.order if request is not None else None

    async def has_workers(self) -> bool:
        """Whether every service has a worker."""
        client = await self._temporal()
        return all(await asyncio.gather(*(has_worker(client, service) for service in Service)))

    async def _handle(self, order_id: str) -> Handle:
        return (await self._temporal()).get_workflow_handle_for(PlaceChoreographedOrder.run, placement_id(order_id))


def _without_row(placed: Placement) -> OrderResult:
    """Of an order that was refused before it had one, or of another one under the same id, which may have one."""
    refusal = placed.refusal
    status = OrderStatus.of_state(closing_state(refusal.reason)) if refusal is not None else OrderStatus.PENDING
    return OrderResult(placed.order_id, status, refusal, None, placed.content_hash)


def _running(order_id: str) -> str:
    return f'Saga = "{order_saga_id(order_id)}" AND ExecutionStatus = "Running"'


async def _ids(client: Client, query: str) -> list[str]:
    return [each.id async for each in client.list_workflows(query, limit=STUCK_LISTED_MAX)]
