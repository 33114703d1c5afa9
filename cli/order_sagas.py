"""Orders' workflows as seen from outside: start, await, cancel, retry. Survives a server or worker that restarts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

from temporalio.client import Client, WithStartWorkflowOperation, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

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
from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus, agreed_total
from domain.sagas import SagaOptions
from stack.settings import Settings
from workflows.interfaces import OrderResult, PlaceOrder
from workflows.order_saga import ORDER_STATUS, SHARD, TASK_QUEUE, OrderSaga, workflow_id
from workflows.visibility import SAGA

STUCK_LISTED_MAX = 1000

Handle = WorkflowHandle[OrderSaga, OrderResult]


class _How(TypedDict):
    """How an order's workflow is started, by whatever call."""

    id: str
    task_queue: str
    task_timeout: timedelta
    id_conflict_policy: WorkflowIDConflictPolicy
    id_reuse_policy: WorkflowIDReusePolicy
    search_attributes: TypedSearchAttributes
    static_summary: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What Temporal tells of an order's workflow at this moment. One that is known and does not run has ended."""

    is_running: bool
    is_stuck: bool = False
    is_known: bool = True


class OrderSagas:
    def __init__(self, temporal: Callable[[], Awaitable[Client]], settings: Settings) -> None:
        """`temporal` gives the connected client: asked when it is first needed."""
        self._temporal = temporal
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)
        self._window_seconds = settings.cancellation_window_seconds

    async def carry_out(self, order: Order, customer_shard: str, seconds: float) -> OrderResult | None:
        """Has the order's saga run and waits for its end; None when that has not come within `seconds`.

        A workflow that runs already is joined, and may carry another order under the same id: compare the result's
        `content_hash`. One that has ended is run again, which changes nothing that is decided. Raises `SagaBroke`,
        or `Unreachable` where it could not be told whether the workflow was started at all. A crash of ours after
        the start loses nothing.
        """
        return await carried_out(lambda: self.start(order, customer_shard, max(seconds, START_SECONDS_MIN)), seconds)

    async def start(
        self, order: Order, customer_shard: str, seconds: float = START_SECONDS_MIN, is_decided: bool = False
    ) -> Handle:
        """Has the order's saga run, under the same id however often it is started; waits for no more than that.

        Joins a workflow that runs. One of an order that `is_decided` has no cancellation window: nothing is left to
        cancel, and money and stock are on their way. `Unreachable` where it could not be told whether it was started.
        """
        window_seconds = 0.0 if is_decided else self._window_seconds
        client = await self._temporal()
        return await started(lambda: self._start(client, order, customer_shard, window_seconds), seconds)

    async def _start(self, client: Client, order: Order, customer_shard: str, window_seconds: float) -> Handle:
        request = PlaceOrder(order, self._options, window_seconds)
        return await client.start_workflow(OrderSaga.run, request, **_how(order, customer_shard))

    async def cancel_or_begin(self, order: Order, customer_shard: str, seconds: float) -> None:
        """Like `cancel`; where no workflow runs one is begun with the cancel as the first thing it hears, so that an
        order whose workflow was lost is undone and not carried out.
        """
        client = await self._temporal()
        begin: WithStartWorkflowOperation[OrderSaga, OrderResult] = WithStartWorkflowOperation(
            OrderSaga.run, PlaceOrder(order, self._options, self._window_seconds), **_how(order, customer_shard)
        )

        async def to_the_end() -> None:
            await client.execute_update_with_start_workflow(
                OrderSaga.cancel, start_workflow_operation=begin, id="cancel"
            )
            await (await begin.workflow_handle()).result()

        await as_far_as_it_goes(to_the_end(), seconds)

    async def cancel(self, order_id: str, seconds: float) -> None:
        """Asks for a cancel and waits for the workflow's end, at most `seconds`. Nothing where none runs.

        Whether the cancel won is for the row to say. Safe to repeat: every caller joins the one cancel.
        """
        handle = await self._handle(order_id)

        async def to_the_end() -> None:
            await handle.execute_update(OrderSaga.cancel, id="cancel")
            await handle.result()

        await as_far_as_it_goes(to_the_end(), seconds)

    async def retry(self, order_id: str, seconds: float) -> bool:
        """Has waiting steps tried again at once; False where no workflow took it within `seconds`."""
        handle = await self._handle(order_id)
        return await as_far_as_it_goes(handle.execute_update(OrderSaga.retry), seconds)

    async def seen(self, order_id: str) -> Seen | None:
        """None when Temporal does not answer within two seconds."""

        async def describe() -> Seen:
            try:
                description = await (await self._handle(order_id)).describe()
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return Seen(is_running=False, is_known=False)
                raise
            status = description.typed_search_attributes.get(ORDER_STATUS)
            is_running = description.status is WorkflowExecutionStatus.RUNNING
            return Seen(is_running, is_running and status == OrderStatus.STUCK)

        return await answered(describe())

    async def waits_for(self, order_id: str) -> str | None:
        """The step that the order is in. None where no workflow runs, or Temporal does not answer in two seconds."""

        async def look() -> str | None:
            run = await read_open(await self._temporal(), workflow_id(order_id))
            return waits_for([run] if run is not None else [])

        return await answered(look())

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""

        async def listed() -> list[str]:
            query = (
                f'WorkflowType = "OrderSaga" AND ExecutionStatus = "Running" AND OrderStatus = "{OrderStatus.STUCK}"'
            )
            client = await self._temporal()
            prefix = workflow_id("")
            return [each.id.removeprefix(prefix) async for each in client.list_workflows(query, limit=STUCK_LISTED_MAX)]

        return await answered(listed())

    async def asked_for(self, order_id: str) -> Order | None:
        """The order as it was given to its workflow, while Temporal remembers that. `InvalidInput` where no worker lets
        it in."""
        request: PlaceOrder | None = await asked_of(await self._handle(order_id))
        return request.order if request is not None else None

    async def has_worker(self) -> bool:
        """Whether a worker has polled for orders lately. One that was killed counts for another minute."""
        return await has_worker(await self._temporal(), TASK_QUEUE)

    async def _handle(self, order_id: str) -> Handle:
        return (await self._temporal()).get_workflow_handle_for(OrderSaga.run, workflow_id(order_id))


def summary_of(order: Order) -> str:
    """For Temporal's lists. Without a total where the catalogue's prices count: the workflow looks them up, and tells
    it in its current details."""
    count = len(order.lines)
    total = agreed_total(order)
    costs = f"{order.currency} at the catalogue's prices" if total is None else total
    return f"{order.customer_id}: {count} line{'' if count == 1 else 's'}, {costs}"


def _how(order: Order, customer_shard: str) -> _How:
    attributes = [
        SearchAttributePair(ORDER_STATUS, OrderStatus.PENDING),
        SearchAttributePair(SAGA, order_saga_id(order.order_id)),
        SearchAttributePair(SHARD, customer_shard),
    ]
    return {
        "id": workflow_id(order.order_id),
        "task_queue": TASK_QUEUE,
        "task_timeout": TASK_TIMEOUT,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "search_attributes": TypedSearchAttributes(attributes),
        "static_summary": summary_of(order),
    }
