"""Orders' workflows as seen from outside: start, await, cancel, retry. Survives a server or worker that restarts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from temporalio.client import WithStartWorkflowOperation, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import SearchAttributePair

from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus, agreed_total
from domain.sagas import SagaOptions
from shardwise.orders.waiting import waits_for
from shardwise.temporal.calls import Begun, Workflows, answered, as_far_as_it_goes
from stack.settings import Settings
from tracing.workflow_runs import read_open
from workflows.interfaces import OrderResult, PlaceOrder
from workflows.orders.saga import ORDER_STATUS, SHARD, TASK_QUEUE, OrderSaga, workflow_id
from workflows.visibility import SAGA

Handle = WorkflowHandle[OrderSaga, OrderResult]


@dataclass(frozen=True, slots=True)
class Seen:
    """What Temporal tells of an order's workflow at this moment. One that is known and does not run has ended."""

    is_running: bool
    is_stuck: bool = False
    is_known: bool = True


class OrderSagas:
    def __init__(self, workflows: Workflows, settings: Settings) -> None:
        self._workflows = workflows
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)
        self._window_seconds = settings.cancellation_window_seconds

    async def carry_out(self, order: Order, customer_shard: str, seconds: float) -> OrderResult | None:
        """Has the order's saga run and waits for its end; None when that has not come within `seconds`.

        A workflow that runs already is joined, and may carry another order under the same id: compare the result's
        `content_hash`. One that has ended is run again, which changes nothing that is decided. Raises as
        `Workflows.carried_out`. A crash of ours after the start loses nothing.
        """
        return await self._workflows.carried_out(
            OrderSaga.run, self._request(order), _begun(order, customer_shard), seconds
        )

    async def start(self, order: Order, customer_shard: str, is_decided: bool = False) -> None:
        """Has the order's saga run; joins a workflow that does. One of an order that `is_decided` has no cancellation
        window: nothing is left to cancel, and money and stock are on their way. Raises `Unreachable`."""
        request = self._request(order)
        if is_decided:
            request = replace(request, cancellation_window_seconds=0.0)
        await self._workflows.start(OrderSaga.run, request, _begun(order, customer_shard))

    def _request(self, order: Order) -> PlaceOrder:
        return PlaceOrder(order, self._options, self._window_seconds)

    async def cancel_or_begin(self, order: Order, customer_shard: str, seconds: float) -> None:
        """Like `cancel`; where no workflow runs one is begun with the cancel as the first thing it hears, so that an
        order whose workflow was lost is undone and not carried out.
        """
        client = await self._workflows.client()
        begin: WithStartWorkflowOperation[OrderSaga, OrderResult] = WithStartWorkflowOperation(
            OrderSaga.run, self._request(order), **_begun(order, customer_shard).options()
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
            description = await self._workflows.describe(workflow_id(order_id))
            if description is None:
                return Seen(is_running=False, is_known=False)
            status = description.typed_search_attributes.get(ORDER_STATUS)
            is_running = description.status is WorkflowExecutionStatus.RUNNING
            return Seen(is_running, is_running and status == OrderStatus.STUCK)

        return await answered(describe())

    async def waits_for(self, order_id: str) -> str | None:
        """The step that the order is in. None where no workflow runs, or Temporal does not answer in two seconds."""

        async def look() -> str | None:
            run = await read_open(await self._workflows.client(), workflow_id(order_id))
            return waits_for([run] if run is not None else [])

        return await answered(look())

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""

        async def listed() -> list[str]:
            query = (
                f'WorkflowType = "OrderSaga" AND ExecutionStatus = "Running" AND OrderStatus = "{OrderStatus.STUCK}"'
            )
            return [each.removeprefix(workflow_id("")) for each in await self._workflows.ids(query)]

        return await answered(listed())

    async def asked_for(self, order_id: str) -> Order | None:
        """The order as it was given to its workflow, while Temporal remembers that. `InvalidInput` where no worker lets
        it in."""
        request: PlaceOrder | None = await self._workflows.asked_of(workflow_id(order_id))
        return request.order if request is not None else None

    async def has_worker(self) -> bool:
        """Whether a worker has polled for orders lately. One that was killed counts for another minute."""
        return await self._workflows.has_worker(TASK_QUEUE)

    async def _handle(self, order_id: str) -> Handle:
        return await self._workflows.handle(OrderSaga.run, workflow_id(order_id))


def summary_of(order: Order) -> str:
    """For Temporal's lists. Without a total where the catalogue's prices count: the workflow looks them up, and tells
    it in its current details."""
    count = len(order.lines)
    total = agreed_total(order)
    costs = f"{order.currency} at the catalogue's prices" if total is None else total
    return f"{order.customer_id}: {count} line{'' if count == 1 else 's'}, {costs}"


def _begun(order: Order, customer_shard: str) -> Begun:
    attributes = [
        SearchAttributePair(ORDER_STATUS, OrderStatus.PENDING),
        SearchAttributePair(SAGA, order_saga_id(order.order_id)),
        SearchAttributePair(SHARD, customer_shard),
    ]
    return Begun(workflow_id(order.order_id), TASK_QUEUE, summary_of(order), attributes)
