"""Calls to orders' workflows: start, await, cancel, retry. They survive a server or worker that restarts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from temporalio.client import WithStartWorkflowOperation, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import SearchAttributePair

from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus, agreed_total
from domain.sagas import SagaOptions
from shardwise.orders.waiting import waits_for
from shardwise.temporal.calls import Workflows, WorkflowStart, answer_or_none, finished_in_time
from stack.settings import Settings
from tracing.workflow_runs import read_open
from workflows.interfaces import OrderResult, PlaceOrder
from workflows.orders.saga import ORDER_STATUS, SHARD, TASK_QUEUE, OrderSaga, workflow_id
from workflows.visibility import SAGA

Handle = WorkflowHandle[OrderSaga, OrderResult]


@dataclass(frozen=True, slots=True)
class ObservedWorkflow:
    """What Temporal knows of an order's workflow at this moment. One that is known and does not run has ended."""

    is_running: bool
    is_stuck: bool = False
    is_known: bool = True


class OrderSagas:
    def __init__(self, workflows: Workflows, settings: Settings) -> None:
        self._workflows = workflows
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)
        self._window_seconds = settings.cancellation_window_seconds

    async def carry_out(self, order: Order, customer_shard: str, seconds: float) -> OrderResult | None:
        """Starts the order's saga and waits for its end; None if that does not come within `seconds`.

        A workflow that runs already is joined, and may carry out another order under the same id: compare the result's
        `content_hash`. One that has ended is run again, which changes nothing that is decided. Raises as
        `Workflows.run_to_end`. A crash of the caller after the start loses nothing.
        """
        return await self._workflows.run_to_end(
            OrderSaga.run, self._request(order), _workflow_start(order, customer_shard), seconds
        )

    async def start(self, order: Order, customer_shard: str, is_decided: bool = False) -> None:
        """Starts the order's saga, or joins the workflow that runs. If the order `is_decided` there is no cancellation
        window: nothing is left to cancel, and money and stock are on their way. Raises `Unreachable`."""
        request = self._request(order)
        if is_decided:
            request = replace(request, cancellation_window_seconds=0.0)
        await self._workflows.start(OrderSaga.run, request, _workflow_start(order, customer_shard))

    def _request(self, order: Order) -> PlaceOrder:
        return PlaceOrder(order, self._options, self._window_seconds)

    async def cancel_or_begin(self, order: Order, customer_shard: str, seconds: float) -> None:
        """Like `cancel`. If no workflow runs, one is started together with the cancel, so that an order whose workflow
        was lost is undone and not carried out.
        """
        client = await self._workflows.client()
        begin: WithStartWorkflowOperation[OrderSaga, OrderResult] = WithStartWorkflowOperation(
            OrderSaga.run, self._request(order), **_workflow_start(order, customer_shard).arguments()
        )

        async def to_the_end() -> None:
            await client.execute_update_with_start_workflow(
                OrderSaga.cancel, start_workflow_operation=begin, id="cancel"
            )
            await (await begin.workflow_handle()).result()

        await finished_in_time(to_the_end(), seconds)

    async def cancel(self, order_id: str, seconds: float) -> None:
        """Requests a cancel and waits for the workflow's end, at most `seconds`. Does nothing if none runs.

        The row shows whether the cancel won. Safe to repeat: every caller joins the one cancel.
        """
        handle = await self._handle(order_id)

        async def to_the_end() -> None:
            await handle.execute_update(OrderSaga.cancel, id="cancel")
            await handle.result()

        await finished_in_time(to_the_end(), seconds)

    async def retry(self, order_id: str, seconds: float) -> bool:
        """Has waiting steps tried again at once; False if no workflow took the request within `seconds`."""
        handle = await self._handle(order_id)
        return await finished_in_time(handle.execute_update(OrderSaga.retry), seconds)

    async def observe(self, order_id: str) -> ObservedWorkflow | None:
        """None when Temporal does not answer within two seconds."""

        async def describe() -> ObservedWorkflow:
            description = await self._workflows.describe(workflow_id(order_id))
            if description is None:
                return ObservedWorkflow(is_running=False, is_known=False)
            status = description.typed_search_attributes.get(ORDER_STATUS)
            is_running = description.status is WorkflowExecutionStatus.RUNNING
            return ObservedWorkflow(is_running, is_running and status == OrderStatus.STUCK)

        return await answer_or_none(describe())

    async def waits_for(self, order_id: str) -> str | None:
        """The step that the order is in. None if no workflow runs, or Temporal does not answer in two seconds."""

        async def look() -> str | None:
            run = await read_open(await self._workflows.client(), workflow_id(order_id))
            return waits_for([run] if run is not None else [])

        return await answer_or_none(look())

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""

        async def listed() -> list[str]:
            query = (
                f'WorkflowType = "OrderSaga" AND ExecutionStatus = "Running" AND OrderStatus = "{OrderStatus.STUCK}"'
            )
            return [each.removeprefix(workflow_id("")) for each in await self._workflows.ids(query)]

        return await answer_or_none(listed())

    async def request_of(self, order_id: str) -> Order | None:
        """The order its workflow was started with; None if Temporal does not know or does not answer. `InvalidInput` if
        its entrance refuses it."""
        request: PlaceOrder | None = await self._workflows.input_of(workflow_id(order_id))
        return request.order if request is not None else None

    async def has_worker(self) -> bool:
        """Whether a worker has polled for orders lately. One that was killed counts for another minute."""
        return await self._workflows.has_worker(TASK_QUEUE)

    async def _handle(self, order_id: str) -> Handle:
        return await self._workflows.handle(OrderSaga.run, workflow_id(order_id))


def summary_of(order: Order) -> str:
    """For Temporal's lists. Without a total if the catalogue's prices apply: the workflow reads them, and shows the
    total in its current details."""
    count = len(order.lines)
    total = agreed_total(order)
    costs = f"{order.currency} at the catalogue's prices" if total is None else total
    return f"{order.customer_id}: {count} line{'' if count == 1 else 's'}, {costs}"


def _workflow_start(order: Order, customer_shard: str) -> WorkflowStart:
    attributes = [
        SearchAttributePair(ORDER_STATUS, OrderStatus.PENDING),
        SearchAttributePair(SAGA, order_saga_id(order.order_id)),
        SearchAttributePair(SHARD, customer_shard),
    ]
    return WorkflowStart(workflow_id(order.order_id), TASK_QUEUE, summary_of(order), attributes)
