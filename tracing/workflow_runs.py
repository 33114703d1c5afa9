"""Reads from Temporal the runs of workflows, as far as it still has them."""

from __future__ import annotations

from temporalio.api.enums.v1 import PendingActivityState, PendingWorkflowTaskState
from temporalio.api.workflowservice.v1 import DescribeWorkflowExecutionResponse
from temporalio.client import Client, WorkflowExecutionStatus

from stack.temporal_client import described
from tracing.facts import Run, WaitingTask
from tracing.history import as_datetime, ended_by, read_run

RUNS_MAX = 20
# A choreographed order has at most nine, and as many again if lost ones were started anew.
WORKFLOWS_MAX = 40


async def read_runs(client: Client, workflow_id: str) -> list[Run]:
    """Oldest first, at most the newest `RUNS_MAX`; none if Temporal has no such workflow, or no longer has it.

    Raises `RPCError` if it does not answer.
    """
    newest = await described(client, workflow_id)
    if newest is None:
        return []
    # The list lags a moment, and may not have the newest run yet.
    run_ids = {newest.run_id}
    async for listed in client.list_workflows(f'WorkflowId = "{workflow_id}"', limit=RUNS_MAX):
        run_ids.add(listed.run_id)
    runs = [await _read(client, workflow_id, run_id) for run_id in run_ids]
    current = next(run for run in runs if run.run_id == newest.run_id)
    if current.closed_at is None:
        add_pending(current, newest.raw_description)
    return sorted(runs, key=lambda run: run.started_at)


async def read_workflows(client: Client, saga_id: str) -> list[Run]:
    """Every run of every workflow that carries this saga's id, except the one that is named after it, by start. It lags
    a moment, as the list does.

    Raises `RPCError` if Temporal does not answer.
    """
    query = f'Saga = "{saga_id}" AND WorkflowId != "{saga_id}"'
    runs = [
        await _read(client, listed.id, listed.run_id)
        async for listed in client.list_workflows(query, limit=WORKFLOWS_MAX)
    ]
    for run in runs:
        if run.closed_at is None:
            described = await client.get_workflow_handle(run.workflow_id, run_id=run.run_id).describe()
            add_pending(run, described.raw_description)
    return sorted(runs, key=lambda run: run.started_at)


async def read_open(client: Client, workflow_id: str) -> Run | None:
    """The open run; None if there is none. Raises `RPCError` if Temporal does not answer."""
    newest = await described(client, workflow_id)
    if newest is None or newest.status is not WorkflowExecutionStatus.RUNNING:
        return None
    run = await _read(client, workflow_id, newest.run_id)
    add_pending(run, newest.raw_description)
    return run


async def _read(client: Client, workflow_id: str, run_id: str) -> Run:
    history = await client.get_workflow_handle(workflow_id, run_id=run_id).fetch_history()
    return await read_run(workflow_id, run_id, history.events, client.data_converter)


def add_pending(run: Run, described: DescribeWorkflowExecutionResponse) -> None:
    """Adds the attempts of open activities: an attempt is in the history only when its activity has ended."""
    rounds = {each.activity_id: each for each in run.rounds if not each.local}
    for pending in described.pending_activities:
        waiting = rounds.get(pending.activity_id)
        if waiting is None:
            continue  # Scheduled after the history was read.
        running = pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
        waiting.attempts = pending.attempt if running else pending.attempt - 1
        if pending.HasField("last_failure"):
            _, waiting.failure = ended_by(pending.last_failure)
        if not running and pending.attempt > 1:
            waiting.next_attempt_at = as_datetime(pending.scheduled_time)
    if described.HasField("pending_workflow_task"):
        task = described.pending_workflow_task
        begun = task.state == PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
        since = task.started_time if begun else task.scheduled_time
        run.waiting_task = WaitingTask(as_datetime(since), begun)
