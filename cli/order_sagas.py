"""Orders' workflows as seen from outside: start, await, cancel, retry. Survives a server or worker that restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import (
    Client,
    RPCError,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCStatusCode

from cli.common import within
from domain.errors import Unreachable
from domain.orders import Order, OrderStatus
from stack.settings import Settings
from workflows.compensation import SagaOptions
from workflows.order_saga import ORDER_STATUS, SHARD, TASK_QUEUE, OrderResult, OrderSaga, PlaceOrder, workflow_id

T = TypeVar("T")

# After a worker's death its workflow tasks wait this long for another one.
TASK_TIMEOUT = timedelta(seconds=5)
RETRY_SECONDS = 0.5
# Also for a caller that does not want to wait for the end: an order must be known to have started.
START_SECONDS_MIN = 10.0
DESCRIBE_SECONDS = 2.0
# An idle worker's poll lasts a minute: one that has not polled for longer is gone, though still listed.
POLLED_WITHIN_SECONDS = 75
STUCK_LISTED_MAX = 1000

_HOPELESS = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
    }
)

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


class SagaBroke(Exception):
    """The workflow failed, was terminated or timed out: nothing works on the order any more."""


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
        began = time.monotonic()
        handle = await self.start(order, customer_shard, max(seconds, START_SECONDS_MIN))
        return await self._ended(handle, began + seconds - time.monotonic())

    async def start(
        self, order: Order, customer_shard: str, seconds: float = START_SECONDS_MIN, is_decided: bool = False
    ) -> Handle:
        """Has the order's saga run, under the same id however often it is started; waits for no more than that.

        Joins a workflow that runs. One of an order that `is_decided` has no cancellation window: nothing is left to
        cancel, and money and stock are on their way. `Unreachable` where it could not be told whether it was started.
        """
        window_seconds = 0.0 if is_decided else self._window_seconds
        client = await self._temporal()
        reason = "no answer"
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await self._start(client, order, customer_shard, window_seconds)
                    except RPCError as error:
                        reason = _assert_worth_a_retry(error)
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            raise _no_answer(reason) from None

    async def _ended(self, handle: Handle, seconds: float) -> OrderResult | None:
        try:
            async with asyncio.timeout(seconds):
                while True:
                    try:
                        return await handle.result()
                    except RPCError as error:
                        _assert_worth_a_retry(error)
                    except WorkflowFailureError as error:
                        raise SagaBroke(str(error.cause)) from error
                    await asyncio.sleep(RETRY_SECONDS)
        except TimeoutError:
            return None

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

        await _as_far_as_it_goes(to_the_end(), seconds)

    async def cancel(self, order_id: str, seconds: float) -> None:
        """Asks for a cancel and waits for the workflow's end, at most `seconds`. Nothing where none runs.

        Whether the cancel won is for the row to say. Safe to repeat: every caller joins the one cancel.
        """
        handle = await self._handle(order_id)

        async def to_the_end() -> None:
            await handle.execute_update(OrderSaga.cancel, id="cancel")
            await handle.result()

        await _as_far_as_it_goes(to_the_end(), seconds)

    async def retry(self, order_id: str, seconds: float) -> bool:
        """Has waiting steps tried again at once; False where no workflow took it within `seconds`."""
        handle = await self._handle(order_id)
        return await _as_far_as_it_goes(handle.execute_update(OrderSaga.retry), seconds)

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

        return await _answered(describe())

    async def stuck_order_ids(self) -> list[str] | None:
        """As of a moment ago. None when Temporal does not answer within two seconds."""

        async def listed() -> list[str]:
            query = (
                f'WorkflowType = "OrderSaga" AND ExecutionStatus = "Running" AND OrderStatus = "{OrderStatus.STUCK}"'
            )
            client = await self._temporal()
            prefix = workflow_id("")
            return [each.id.removeprefix(prefix) async for each in client.list_workflows(query, limit=STUCK_LISTED_MAX)]

        return await _answered(listed())

    async def asked_for(self, order_id: str) -> Order | None:
        """The order as it was given to its workflow, while Temporal remembers that."""

        async def read() -> Order | None:
            client = await self._temporal()
            handle = client.get_workflow_handle(workflow_id(order_id))
            async for event in handle.fetch_history_events(page_size=1):
                payloads = event.workflow_execution_started_event_attributes.input.payloads
                [request] = await client.data_converter.decode(payloads, [PlaceOrder])
                order: Order = request.order
                return order
            return None

        return await _answered(read())

    async def has_worker(self) -> bool:
        """Whether a worker has polled for orders lately. One that was killed counts for another minute."""
        client = await self._temporal()
        request = DescribeTaskQueueRequest(
            namespace=client.namespace,
            task_queue=TaskQueue(name=TASK_QUEUE),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        answer = await _answered(client.workflow_service.describe_task_queue(request))
        if answer is None:
            return False
        oldest = time.time() - POLLED_WITHIN_SECONDS
        return any(poller.last_access_time.ToSeconds() > oldest for poller in answer.pollers)

    async def _handle(self, order_id: str) -> Handle:
        return (await self._temporal()).get_workflow_handle_for(OrderSaga.run, workflow_id(order_id))


def _how(order: Order, customer_shard: str) -> _How:
    count = len(order.lines)
    return {
        "id": workflow_id(order.order_id),
        "task_queue": TASK_QUEUE,
        "task_timeout": TASK_TIMEOUT,
        "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
        "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
        "search_attributes": TypedSearchAttributes(
            [SearchAttributePair(ORDER_STATUS, OrderStatus.PENDING), SearchAttributePair(SHARD, customer_shard)]
        ),
        "static_summary": f"{order.customer_id}: {count} line{'' if count == 1 else 's'}, {order.currency}",
    }


async def _as_far_as_it_goes(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """False where time ran out or no workflow runs (any more). `Unreachable` where Temporal does not answer."""
    try:
        await within(work, seconds)
    except (TimeoutError, WorkflowFailureError, WorkflowUpdateFailedError):
        return False
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise _no_answer(error.message) from error
    return True


async def _answered(work: Coroutine[Any, Any, T]) -> T | None:
    try:
        return await within(work, DESCRIBE_SECONDS)
    except (TimeoutError, RPCError, Unreachable):
        return None


def _assert_worth_a_retry(error: RPCError) -> str:
    """Why it did not work this time; or `Unreachable` at once where no later attempt can have another answer."""
    if error.status in _HOPELESS:
        raise Unreachable("temporal_refused", f"Temporal refuses: {error.message}") from error
    return error.message


def _no_answer(reason: str) -> Unreachable:
    return Unreachable("temporal_unreachable", f"Temporal does not answer: {reason}")
