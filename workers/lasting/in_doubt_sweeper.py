"""Keeps the sweep over two-phase commits that nobody decides any more running, while a worker can run it."""

from __future__ import annotations

from functools import partial

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unreachable
from workers.lasting.keeping import Start
from workflows.interfaces import SweepInDoubt
from workflows.transfers.in_doubt_recovery import WORKFLOW_ID as SCHEDULE
from workflows.transfers.in_doubt_sweeper import TASK_QUEUE, WORKFLOW_ID, InDoubtSweeper


def sweeper(client: Client) -> dict[str, Start]:
    """For `workers.lasting.keeping`."""
    return {WORKFLOW_ID: partial(start_sweeper, client)}


async def start_sweeper(client: Client, paused: bool = False) -> None:
    """Joins one that runs; `paused` pauses that too. Idempotent. Raises `RPCError`."""
    await client.start_workflow(
        InDoubtSweeper.run,
        SweepInDoubt(paused),
        id=WORKFLOW_ID,
        task_queue=TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="pause" if paused else None,
        static_summary="ends two-phase commits that nobody decides any more",
    )


async def replace_schedule(client: Client) -> list[str]:
    """Deletes the schedule of earlier releases' sweep; returns its id, or nothing if there was none. If it was paused,
    the workflow that replaces it is started paused. Safe to repeat, to kill at any point and to run twice at once.
    Raises `Unreachable`."""
    schedule = client.get_schedule_handle(SCHEDULE)
    try:
        if (await schedule.describe()).schedule.state.paused:
            await start_sweeper(client, paused=True)
        await schedule.delete()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return []
        raise Unreachable("temporal_unreachable", f"Temporal keeps an old schedule: {error.message}") from error
    return [SCHEDULE]
