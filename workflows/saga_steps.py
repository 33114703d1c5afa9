"""How a saga's steps are run: local first and durable behind it, visible when stuck, shielded when it must end.

Nothing here remembers what was done. A local activity is not in the history until its workflow task completes, so
after a kill the workflow knows too little. Therefore rows decide, and undoing a step that never ran is safe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

from activities.interfaces import StepResult
from domain.sagas import Reason, Refusal, SagaOptions
from domain.steps import StepCall

_WATCHDOG = "watchdog, alarm if not done: "

A = TypeVar("A")
R = TypeVar("R")
StepMethod = Callable[[Any, A], Coroutine[Any, Any, R]]

# Two quick attempts inside the workflow task: no event per attempt, no round trip through the server.
LOCAL_START_TO_CLOSE = timedelta(seconds=5)
LOCAL_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=100), maximum_attempts=2)

# Then attempts without limit, never more than 5 s apart, so that the saga goes on soon after a shard's return.
DURABLE_START_TO_CLOSE = timedelta(seconds=10)
DURABLE_RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=5))


class SagaSteps:
    """Runs the activities of one saga. `domain.steps` declares each step, its `part` and the facts of its summary."""

    def __init__(self, options: SagaOptions, on_stuck_changed: Callable[[Sequence[str]], None]) -> None:
        """`on_stuck_changed` gets the summaries of the steps that are stuck now: none when all move again."""
        self._options = options
        self._on_stuck_changed = on_stuck_changed
        self._stuck: list[str] = []
        self._retries_requested = 0
        # A cancelled activity may stay open on the server for a while, and as long as it does its id is taken.
        self._started: Counter[str] = Counter()

    def retry_now(self) -> None:
        """The operator's retry: every waiting step gets a fresh attempt at once, without back-off."""
        self._retries_requested += 1

    async def abortable(
        self,
        step: StepMethod[A, R],
        argument: A,
        *,
        part: str | None = None,
        because: str | None = None,
        **facts: object,
    ) -> R:
        """Runs a step before the decision: retries until it succeeds; raises cancellation and failures that no retry
        can mend, after which the saga aborts."""
        call = StepCall.of(step.__name__, part, because, facts)
        if self._options.mode == "local_first":
            try:
                return await self._run_locally(step, argument, call)
            except FailureError as error:
                if is_cancelled_exception(error) or (isinstance(error, ApplicationError) and error.non_retryable):
                    raise
        return await self._run_as_regular_activity(step, argument, call, raise_for_good=True)

    async def to_the_end(
        self,
        step: StepMethod[A, R],
        argument: A,
        *,
        part: str | None = None,
        because: str | None = None,
        skip_local: bool = False,
        **facts: object,
    ) -> R:
        """Runs a step that must succeed, a compensation or anything after the decision: never gives up.

        If the step fails for good, a bug, the saga is stuck until an operator's retry. Call it under `shielded`.
        `skip_local`: no local attempts, for a step that has to be in the history before it runs.
        """
        call = StepCall.of(step.__name__, part, because, facts)
        if self._options.mode == "local_first" and not skip_local:
            try:
                return await self._run_locally(step, argument, call)
            except FailureError:
                pass
        return await self._run_as_regular_activity(step, argument, call, raise_for_good=False)

    async def _run_locally(self, step: StepMethod[A, R], argument: A, call: StepCall) -> R:
        # Never schedule_to_close here: it hangs. A failure arrives as a bare ApplicationError. A time-out is an
        # ActivityError when it happens and a bare TimeoutError when it is replayed: do not distinguish them by type.
        result: R = await workflow.execute_local_activity_method(
            step,
            argument,
            activity_id=call.step.activity_id(call.part),
            summary=call.summary,
            start_to_close_timeout=LOCAL_START_TO_CLOSE,
            retry_policy=LOCAL_RETRY,
        )
        return result

    async def _run_as_regular_activity(
        self, step: StepMethod[A, R], argument: A, call: StepCall, raise_for_good: bool
    ) -> R:
        summary = call.summary
        while True:
            retries_seen = self._retries_requested
            # The timer of `_wait_for` must be the next command: a trace pairs an activity with the timer after it.
            task = workflow.start_activity_method(
                step,
                argument,
                activity_id=self._next_id(call),
                summary=summary,
                start_to_close_timeout=DURABLE_START_TO_CLOSE,
                retry_policy=DURABLE_RETRY,
            )
            try:
                await self._wait_for(task, retries_seen, summary)
                if task.done():
                    result: R = task.result()
                    self._set_stuck(summary, False)
                    return result
            except ActivityError as error:
                if raise_for_good or is_cancelled_exception(error):
                    self._set_stuck(summary, False)
                    raise
                # Non-retryable, so a bug or damage. Only a person can say when to go on.
                self._set_stuck(summary, True)
                await workflow.wait_condition(lambda seen=retries_seen: self._retries_requested > seen)  # type: ignore[misc]
            except GeneratorExit:
                # Evicted from a worker's cache: nothing can be awaited or reported here any more.
                raise
            except BaseException:
                await _abandon(task)
                self._set_stuck(summary, False)
                raise
            await _abandon(task)

    def _next_id(self, call: StepCall) -> str:
        step_id = call.step.activity_id(call.part)
        self._started[step_id] += 1
        return call.step.activity_id(call.part, self._started[step_id])

    async def _wait_for(self, task: asyncio.Task[Any], retries_seen: int, summary: str) -> None:
        """Waits until the step is done or an operator requests a retry. A workflow cannot see an activity's attempt
        count, so it races the activity against a timer; the history does not grow while it waits."""

        def is_done_or_retried() -> bool:
            return task.done() or self._retries_requested > retries_seen

        try:
            await workflow.wait_condition(
                is_done_or_retried,
                timeout=self._options.stuck_after_seconds,
                timeout_summary=_WATCHDOG + summary,
            )
        except TimeoutError:
            self._set_stuck(summary, True)
            await workflow.wait_condition(is_done_or_retried)

    def _set_stuck(self, summary: str, stuck: bool) -> None:
        if (summary in self._stuck) == stuck:
            return
        if stuck:
            self._stuck.append(summary)
        else:
            self._stuck.remove(summary)
        self._on_stuck_changed(self._stuck)


async def why_abort(work: Awaitable[Refusal | None], cancelled: Refusal) -> Refusal | None:
    """Why the saga must be aborted, according to `work`, all of which is before the decision; None: it can go on.

    A cancel and a step that failed for good abort the saga like a refusal, and are passed on as one: in each case the
    row decides next.
    """
    try:
        return await work
    except asyncio.CancelledError:
        return cancelled
    except FailureError as error:
        if is_cancelled_exception(error):
            return cancelled
        return Refusal(Reason.STEP_FAILED, f"a step failed for good: {error.cause or error}")


async def first_refusal(steps: Iterable[Awaitable[StepResult]]) -> Refusal | None:
    """Of steps that run in parallel. If some raise, raises the first error once all have ended, so that no attempt of
    ours runs beside its own compensation."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return next(
        (result.refusal for result in results if not isinstance(result, BaseException) and result.refusal), None
    )


async def _abandon(task: asyncio.Task[Any]) -> None:
    """Cancels an attempt that nobody waits for any more. If it commits all the same, the barrier knows."""
    if not task.done():
        task.cancel()
        with contextlib.suppress(ActivityError):
            await task


async def shielded(work: Coroutine[Any, Any, R], on_cancel: Callable[[], None]) -> R:
    """Runs `work` to its end however often the workflow is cancelled meanwhile; calls `on_cancel` each time.

    A bare `asyncio.shield` returns at once when it is cancelled, with nothing undone.
    """
    task = asyncio.create_task(work)
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise
            on_cancel()
        except GeneratorExit:
            raise
        except BaseException:
            break
    return task.result()
