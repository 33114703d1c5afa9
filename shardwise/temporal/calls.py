"""Calls to workflows from outside: start or join, await, describe. They survive a server or worker that restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypedDict, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.common import (
    RawValue,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode
from temporalio.types import MethodAsyncSingleParam

from domain.errors import InvalidInput, Unreachable
from domain.limits import SECONDS_MAX
from domain.outages import why_unreachable
from shards.connections.waiting import within
from shardwise.temporal.pollers import pollers_of
from stack.temporal_client import described
from workflows.entrance.bad_input import INVALID_INPUT
from workflows.entrance.entrances import read_start

T = TypeVar("T")
P = TypeVar("P")
W = TypeVar("W")
R = TypeVar("R")

# After a worker's death its workflow tasks wait this long for another worker.
TASK_TIMEOUT = timedelta(seconds=5)
RETRY_SECONDS = 0.5
# Also if the caller does not wait for the end: it must be known that the saga has started.
START_SECONDS_MIN = 10.0
DESCRIBE_SECONDS = 2.0
LISTED_MAX = 1000

_NOT_RETRYABLE = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


class WorkflowFailed(Exception):
    """The workflow failed, was terminated or timed out: nothing works on the saga any more."""


class StartRefused(InvalidInput):
    """The input that the workflow was started with is one that no rule allows; nothing was begun."""


@dataclass(frozen=True, slots=True)
class WorkflowStart:
    """Under which id and on which queue a workflow starts. `summary` and `attributes` are for Temporal's lists."""

    id: str
    queue: str
    summary: str
    attributes: Sequence[SearchAttributePair[Any]] = ()

    def arguments(self) -> _Options:
        return {
            "id": self.id,
            "task_queue": self.queue,
            "task_timeout": TASK_TIMEOUT,
            "id_conflict_policy": WorkflowIDConflictPolicy.USE_EXISTING,
            "id_reuse_policy": WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            "search_attributes": TypedSearchAttributes(self.attributes),
            "static_summary": self.summary,
        }


class _Options(TypedDict):
    id: str
    task_queue: str
    task_timeout: timedelta
    id_conflict_policy: WorkflowIDConflictPolicy
    id_reuse_policy: WorkflowIDReusePolicy
    search_attributes: TypedSearchAttributes
    static_summary: str


class Workflows:
    """The one client of workflows. `temporal` returns the connected client, and is called when it is first needed."""

    def __init__(self, temporal: Callable[[], Awaitable[Client]]) -> None:
        self.client = temporal

    async def start(
        self,
        run: MethodAsyncSingleParam[W, P, R],
        argument: P,
        start: WorkflowStart,
        seconds: float = START_SECONDS_MIN,
    ) -> WorkflowHandle[W, R]:
        """Starts the workflow and returns; its id stays the same however often it is started.

        Joins one that runs; one that has ended is run again. `Unreachable` if it is not known after `seconds` whether
        it was started.
        """
        client = await self.client()
        return await retry_start(lambda: client.start_workflow(run, argument, **start.arguments()), seconds)

    async def run_to_end(
        self, run: MethodAsyncSingleParam[W, P, R], argument: P, start: WorkflowStart, seconds: float
    ) -> R | None:
        """Starts or joins the workflow and returns its result, or None if that does not come within `seconds`.

        We may have joined a workflow that somebody else started and that is refused: then the id is free again, and we
        start once more. Raises
        `WorkflowFailed`, `StartRefused` and `Unreachable`.
        """
        deadline = time.monotonic() + seconds

        async def once() -> R | None:
            handle = await self.start(run, argument, start, max(seconds, START_SECONDS_MIN))
            return await wait_for_result(handle, deadline - time.monotonic())

        try:
            return await once()
        except StartRefused:
            return await once()

    async def handle(self, run: MethodAsyncSingleParam[W, P, R], workflow_id: str) -> WorkflowHandle[W, R]:
        return (await self.client()).get_workflow_handle_for(run, workflow_id)

    async def describe(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        """See `described`."""
        return await described(await self.client(), workflow_id)

    async def ids(self, query: str) -> list[str]:
        """As of a moment ago, at most a thousand. Raises `RPCError`."""
        return [each.id async for each in (await self.client()).list_workflows(query, limit=LISTED_MAX)]

    async def has_worker(self, queue: str) -> bool:
        """Whether a worker has polled the queue lately. One that was killed counts for another minute."""
        pollers = pollers_of(await self.client(), queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW)
        return bool(await answer_or_none(pollers))

    async def input_of(self, workflow_id: str) -> Any | None:
        """The input the workflow was started with; None if Temporal does not know or does not answer. `InvalidInput` if
        its entrance refuses it."""
        return await input_of((await self.client()).get_workflow_handle(workflow_id))


async def retry_start(start: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Calls `start` until Temporal answers, and returns its result. `Unreachable` if it is not known after `seconds`
    whether the workflow was started."""
    reason = "no answer"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await start()
                except RPCError as error:
                    reason = _reason_if_retryable(error)
                await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError:
        raise temporal_unreachable(reason) from None


async def wait_for_result(handle: WorkflowHandle[W, R], seconds: float) -> R | None:
    """The workflow's result; None if it does not come within `seconds`. Raises `WorkflowFailed` and `StartRefused`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await handle.result()
                except RPCError as error:
                    _reason_if_retryable(error)
                except WorkflowFailureError as error:
                    if isinstance(error.cause, ApplicationError) and error.cause.type == INVALID_INPUT:
                        raise StartRefused(None, error.cause.message) from error
                    raise WorkflowFailed(str(error.cause)) from error
                await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError:
        return None


async def wait_while_moving(
    handle: WorkflowHandle[W, R], has_moved: Callable[[], Awaitable[bool]], quiet_seconds: float
) -> R | None:
    """The workflow's result, however long it takes; None if nothing `has_moved` for `quiet_seconds`. Raises
    `WorkflowFailed`."""
    result = asyncio.create_task(wait_for_result(handle, SECONDS_MAX))
    moved_at = time.monotonic()
    try:
        while not (await asyncio.wait({result}, timeout=RETRY_SECONDS))[0]:
            if await has_moved():
                moved_at = time.monotonic()
            elif time.monotonic() - moved_at > quiet_seconds:
                return None
        return result.result()
    finally:
        result.cancel()


async def finished_in_time(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """False if time ran out or no workflow runs (any more). `Unreachable` if Temporal does not answer."""
    try:
        await within(work, seconds)
    except (TimeoutError, WorkflowFailureError, WorkflowUpdateFailedError):
        return False
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise temporal_unreachable(error.message) from error
    return True


async def answer_or_none(work: Coroutine[Any, Any, T]) -> T | None:
    """The result of `work`; None if Temporal does not answer within two seconds."""
    try:
        return await within(work, DESCRIBE_SECONDS)
    except (TimeoutError, RPCError, Unreachable):
        return None


async def input_of(handle: WorkflowHandle[Any, Any]) -> Any | None:
    """The input the workflow was started with; None if Temporal does not know or does not answer. `InvalidInput` if its
    entrance refuses it."""

    async def read() -> Any | None:
        async for event in _history(handle):
            started = event.workflow_execution_started_event_attributes
            return read_start(started.workflow_type.name, handle.id, started.input.payloads)
        return None

    return await answer_or_none(read())


async def start_again_as_given(client: Client, workflow_id: str) -> None:
    """Starts the workflow again with the very input that it had, valid or not: its entrance checks it. Joins one that
    runs. Raises `Unreachable`."""

    async def start_again() -> None:
        async for event in _history(client.get_workflow_handle(workflow_id)):
            started = event.workflow_execution_started_event_attributes
            arguments = [RawValue(payload) for payload in started.input.payloads]
            start = WorkflowStart(workflow_id, started.task_queue.name, "started again, as it was given")
            await client.start_workflow(started.workflow_type.name, args=arguments, **start.arguments())
            return

    await retry_start(start_again, START_SECONDS_MIN)


def _history(handle: WorkflowHandle[Any, Any]) -> AsyncIterator[Any]:
    return handle.fetch_history_events(page_size=1)


def temporal_unreachable(reason: str) -> Unreachable:
    return Unreachable("temporal_unreachable", f"Temporal does not answer: {why_unreachable(reason)}")


def _reason_if_retryable(error: RPCError) -> str:
    """Why this attempt failed. Raises `Unreachable` at once if a later attempt cannot succeed."""
    if error.status in _NOT_RETRYABLE:
        raise Unreachable("temporal_refused", f"Temporal refuses: {error.message}") from error
    return error.message
