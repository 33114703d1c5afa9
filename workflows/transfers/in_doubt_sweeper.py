"""Sweeps for two-phase commits that nobody decides any more: for ever, once every half minute.

A transfer's own workflow ends its prepared transactions. This is for those whose workflow was terminated or lost: they
keep their locks, and hold back their server's vacuum and outbox, until they are ended.

A sweep is six events: its timer, one workflow task, and a marker, since it runs as a local activity. That is 720 an
hour and some 17,000 a day, in a history that is begun anew about five times a day.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from datetime import timedelta

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, is_cancelled_exception

from activities.interfaces import InDoubtActivities, ResolveInDoubt
from domain.in_doubt import InDoubtReport
from workflows.interfaces import Sweep, SweepInDoubt
from workflows.visibility import with_items

TASK_QUEUE = "transfers"
WORKFLOW_ID = "in-doubt-sweeper"

# Long enough for a workflow to be visible after its first prepare; a running one is never touched.
OLDER_THAN_SECONDS = 5.0

# Shown below the rest: after continue-as-new, a run has neither the summary nor the details of its start.
ABOUT = (
    "Ends two-phase commits that nobody decides any more. The update `sweep` begins a sweep now, the signals `pause` "
    "and `resume` do what they say. Terminated, it is back within half a minute, and not paused."
)

START_TO_CLOSE = timedelta(seconds=60)
# The next one comes anyway.
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=2)


@workflow.defn(name="InDoubtSweeper")
class InDoubtSweeper:
    @workflow.init
    def __init__(self, request: SweepInDoubt) -> None:
        self._paused = request.paused
        self._requested = 0
        self._served = 0
        self._last: Sweep | None = None

    @workflow.run
    async def run(self, request: SweepInDoubt) -> None:
        self._show_details()
        for _ in range(request.sweeps_max):
            await workflow.wait_condition(lambda: not self._paused or self._is_requested())
            await self._sweep()
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(
                    self._is_requested, timeout=request.every_seconds, timeout_summary="until the next sweep"
                )
            if workflow.info().is_continue_as_new_suggested():
                break
        await self._serve_all()
        # The next run begins with a sweep.
        workflow.continue_as_new(replace(request, paused=self._paused))

    @workflow.signal
    def pause(self) -> None:
        """No sweep until `resume`, except by the update `sweep`. It outlasts continue-as-new, but not a terminate."""
        self._paused = True
        self._show_details()

    @workflow.signal
    def resume(self) -> None:
        self._paused = False
        self._show_details()

    @workflow.update
    async def sweep(self) -> Sweep:
        """Begins a sweep now, paused or not, and returns how it went. If one is running, another begins after it."""
        self._requested += 1
        mine = self._requested
        await workflow.wait_condition(lambda: self._served >= mine)
        assert self._last is not None
        return self._last

    @workflow.query
    def last_sweep(self) -> Sweep | None:
        """None: this run has just begun."""
        return self._last

    async def _sweep(self) -> None:
        requested = self._requested
        report: InDoubtReport | None = None
        failure: str | None = None
        try:
            report = await workflow.execute_local_activity_method(
                InDoubtActivities.resolve_in_doubt,
                ResolveInDoubt(OLDER_THAN_SECONDS),
                summary="end the prepared transactions that nobody decides any more",
                start_to_close_timeout=START_TO_CLOSE,
                retry_policy=RETRY,
            )
        except FailureError as error:
            if is_cancelled_exception(error):
                raise
            failure = str(error.cause or error)
        self._last = Sweep(workflow.now(), report, failure)
        self._served = requested
        self._show_details()

    async def _serve_all(self) -> None:
        while not workflow.all_handlers_finished():
            await workflow.wait_condition(lambda: workflow.all_handlers_finished() or self._is_requested())
            if self._is_requested():
                await self._sweep()

    def _is_requested(self) -> bool:
        return self._served < self._requested

    def _show_details(self) -> None:
        paused = "paused: no sweep until the signal `resume`, but by the update `sweep`" if self._paused else ""
        workflow.set_current_details("\n\n".join(filter(None, (paused, _rendered(self._last), ABOUT))))


def _rendered(last: Sweep | None) -> str:
    if last is None:
        return ""
    at = f"last sweep at {last.at:%Y-%m-%dT%H:%M:%SZ}: "
    report = last.report
    if report is None:
        return f"{at}failed: {last.failure}"
    if not (report.resolved or report.waiting or report.unreachable):
        return f"{at}nothing is in doubt"
    lines = [
        *(f"* ended {each.gid} on {each.shard}: {each.outcome}" for each in report.resolved),
        *(f"* waits: {each.gid} on {each.shard}, {each.why}" for each in report.waiting),
        *(f"* {shard} does not answer" for shard in report.unreachable),
    ]
    return with_items(f"{at}{len(report.resolved)} ended, {len(report.waiting)} wait", _at_most(lines))


def _at_most(lines: list[str], count: int = 20) -> list[str]:
    return lines if len(lines) <= count else [*lines[:count], f"* … and {len(lines) - count} more"]
