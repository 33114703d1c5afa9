"""Detects workflow tasks that Temporal has given up because they took too long, and logs their workflows.

The client's core drops such a workflow from its cache, with a warning that names a run but not its workflow. All it had
done since its last heartbeat is lost, and the task begins again from the history.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

import temporalio.workflow
from temporalio.bridge.proto.workflow_activation import RemoveFromCache, WorkflowActivation
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from workers.runner.wrapped_runner import WrappedInstance, WrappedRunner

log = logging.getLogger("shardwise.worker")

# The client fails an activation that does not yield for so long.
ACTIVATION_SECONDS_MAX = 2.0


class LateTasks:
    """For one worker: counts by run how often in a row its task was given up or failed."""

    def __init__(self, on_late: Callable[[float], None]) -> None:
        """`on_late` is called with the seconds that the task was given, from the threads in which workflows run."""
        self._on_late = on_late
        self._in_a_row: Counter[str] = Counter()

    def in_time(self, run_id: str) -> None:
        self._in_a_row.pop(run_id, None)

    def late(self, info: temporalio.workflow.Info, seconds: float) -> None:
        self._on_late(info.task_timeout.total_seconds())
        given = f"within the {info.task_timeout.total_seconds():g} s that it has"
        self._warn(info, f"was not finished {given}: {seconds:.1f} s have passed", "workflow_task_late")

    def failed(self, info: temporalio.workflow.Info, seconds: float) -> None:
        if seconds >= ACTIVATION_SECONDS_MAX:
            self._on_late(info.task_timeout.total_seconds())
        self._warn(info, f"failed after {seconds:.1f} s", "workflow_task_failed")

    def _warn(self, info: temporalio.workflow.Info, what: str, code: str) -> None:
        self._in_a_row[info.run_id] = attempt = self._in_a_row[info.run_id] + 1
        task = f"a task of {info.workflow_id} ({info.workflow_type})"
        message = f"{task} {what}; it begins again, {attempt} in a row so far"
        log.warning(message, extra={"workflow": info.workflow_id, "attempt": attempt, "code": code})


class LateTaskRunner(WrappedRunner):
    """Runs workflows as `runner` does, and reports to `tasks` those that were dropped for being late."""

    def __init__(self, runner: WorkflowRunner, tasks: LateTasks) -> None:
        super().__init__(runner)
        self._tasks = tasks

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _Instance(super().create_instance(det), self._tasks)


class _Instance(WrappedInstance):
    def __init__(self, instance: WorkflowInstance, tasks: LateTasks) -> None:
        super().__init__(instance)
        self._tasks = tasks
        # Of the current task: its place in the history, when the server issued it, when it arrived here.
        self._task: int | None = None
        self._is_replayed = False
        self._given_at = self._came_at = 0.0
        self._longest = 0.0

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        for job in act.jobs:
            if job.HasField("remove_from_cache"):
                self._evicted(job.remove_from_cache.reason)
                return super().activate(act)
        self._begin(act)
        began = time.monotonic()
        try:
            return super().activate(act)
        finally:
            self._longest = max(self._longest, time.monotonic() - began)

    def _begin(self, act: WorkflowActivation) -> None:
        """An activation of the same task, after a local activity, has the same history."""
        if self._task == act.history_length:
            return
        if self._task is not None and not self._is_replayed:
            self._tasks.in_time(act.run_id)
        self._task, self._is_replayed = act.history_length, act.is_replaying
        self._given_at, self._came_at = act.timestamp.ToMilliseconds() / 1000, time.monotonic()
        self._longest = 0.0

    def _evicted(self, reason: RemoveFromCache.EvictionReason.ValueType) -> None:
        info = self.get_info()
        # The worker's clock and the server's may differ; the time since the task arrived here is exact.
        seconds = max(time.time() - self._given_at, time.monotonic() - self._came_at)
        is_late = seconds >= info.task_timeout.total_seconds()
        if reason == RemoveFromCache.TASK_NOT_FOUND and is_late:
            self._tasks.late(info, seconds)
        elif reason == RemoveFromCache.LANG_FAIL:
            self._tasks.failed(info, self._longest)
        else:
            # Finished, evicted for others, or ended from outside.
            self._tasks.in_time(info.run_id)
