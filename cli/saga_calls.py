"""Sagas' workflows as seen from outside: start, await, ask. Survives a server or a worker that restarts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.common import RawValue, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from cli.common import within
from cli.pollers import pollers_of
from domain.errors import InvalidInput, Unreachable
from domain.outages import why_unreachable
from workflows.bad_input import INVALID_INPUT
from workflows.entrances import read_start

T = TypeVar("T")
W = TypeVar("W")
R = TypeVar("R")

# After a worker's death its workflow tasks wait this long for another one.
TASK_TIMEOUT = timedelta(seconds=5)
RETRY_SECONDS = 0.5
# Also for a caller that does not want to wait for the end: a saga must be known to have started.
START_SECONDS_MIN = 10.0
DESCRIBE_SECONDS = 2.0

_HOPELESS = frozenset(
    {
        RPCStatusCode.INVALID_ARGUMENT,
        RPCStatusCode.PERMISSION_DENIED,
        RPCStatusCode.UNAUTHENTICATED,
        RPCStatusCode.UNIMPLEMENTED,
    }
)


class SagaBroke(Exception):
    """The workflow failed, was terminated or timed out: nothing works on the saga any more."""


class StartRefused(InvalidInput):
    """The input that the workflow was started with is one that no rule allows; nothing was begun."""


async def carried_out(start: Callable[[], Awaitable[WorkflowHandle[W, R]]], seconds: float) -> R | None:
    """The result of the workflow that `start` starts or joins; None when it has not come within `seconds`.

    A start that we joined may be somebody else's, and be refused: then the id is free again for ours. Raises
    `SagaBroke` and `StartRefused`.
    """
    began = time.monotonic()
    try:
        return await ended(await start(), began + seconds - time.monotonic())
    except StartRefused:
        return await ended(await start(), began + seconds - time.monotonic())


async def started(start: Callable[[], Awaitable[T]], seconds: float) -> T:
    """The handle that `start` answers, tried until Temporal does. `Unreachable` where it could not be told whether the
    workflow was started."""
    reason = "no answer"
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await start()
                except RPCError as error:
                    reason = _assert_worth_a_retry(error)
                await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError:
        raise no_answer(reason) from None


async def ended(handle: WorkflowHandle[W, R], seconds: float) -> R | None:
    """The workflow's result; None when it has not come within `seconds`. Raises `SagaBroke` and `StartRefused`."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    return await handle.result()
                except RPCError as error:
                    _assert_worth_a_retry(error)
                except WorkflowFailureError as error:
                    if isinstance(error.cause, ApplicationError) and error.cause.type == INVALID_INPUT:
                        raise StartRefused(None, error.cause.message) from error
                    raise SagaBroke(str(error.cause)) from error
                await asyncio.sleep(RETRY_SECONDS)
    except TimeoutError:
        return None


async def as_far_as_it_goes(work: Coroutine[Any, Any, Any], seconds: float) -> bool:
    """False where time ran out or no workflow runs (any more). `Unreachable` where Temporal does not answer."""
    try:
        await within(work, seconds)
    except (TimeoutError, WorkflowFailureError, WorkflowUpdateFailedError):
        return False
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return False
        raise no_answer(error.message) from error
    return True


async def answered(work: Coroutine[Any, Any, T]) -> T | None:
    """None where Temporal does not answer within two seconds."""
    try:
        return await within(work, DESCRIBE_SECONDS)
    except (TimeoutError, RPCError, Unreachable):
        return None


async def asked_of(handle: WorkflowHandle[Any, Any]) -> Any | None:
    """What the workflow was started with, while Temporal remembers that. `InvalidInput` where no worker lets it in."""

    async def read() -> Any | None:
        async for event in _history(handle):
            told = event.workflow_execution_started_event_attributes
            return read_start(told.workflow_type.name, handle.id, told.input.payloads)
        return None

    return await answered(read())


async def start_as_given(client: Client, workflow_id: str) -> None:
    """Starts the workflow again with the very input that it had, whatever that is: its entrance says what is wrong with
    it. Joins one that runs. Raises `Unreachable`."""

    async def start() -> None:
        async for event in _history(client.get_workflow_handle(workflow_id)):
            told = event.workflow_execution_started_event_attributes
            await client.start_workflow(
                told.workflow_type.name,
                args=[RawValue(payload) for payload in told.input.payloads],
                id=workflow_id,
                task_queue=told.task_queue.name,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            )
            return

    await started(start, START_SECONDS_MIN)


def _history(handle: WorkflowHandle[Any, Any]) -> AsyncIterator[Any]:
    return handle.fetch_history_events(page_size=1)


async def has_worker(client: Client, queue: str) -> bool:
    """Whether a worker has polled the queue lately. One that was killed counts for another minute."""
    pollers = await answered(pollers_of(client, queue, TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW))
    return bool(pollers)


def no_answer(reason: str) -> Unreachable:
    return Unreachable("temporal_unreachable", f"Temporal does not answer: {why_unreachable(reason)}")


def _assert_worth_a_retry(error: RPCError) -> str:
    """Why it did not work this time; or `Unreachable` at once where no later attempt can have another answer."""
    if error.status in _HOPELESS:
        raise Unreachable("temporal_refused", f"Temporal refuses: {error.message}") from error
    return error.message
