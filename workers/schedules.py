"""What Temporal starts by the clock."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.service import RPCError

from domain.errors import Unreachable
from workflows.in_doubt_recovery import WORKFLOW_ID as IN_DOUBT_RECOVERY
from workflows.in_doubt_recovery import InDoubtRecovery
from workflows.transfer import TASK_QUEUE

IN_DOUBT_EVERY = timedelta(seconds=30)


async def register_schedules(client: Client) -> list[str]:
    """Have them there; one that is there is left as it is, paused perhaps. Safe to repeat. Raises `Unreachable`."""
    sweep = ScheduleActionStartWorkflow(
        InDoubtRecovery.run,
        id=IN_DOUBT_RECOVERY,
        task_queue=TASK_QUEUE,
        static_summary="two-phase commits that nobody decides any more",
    )
    # One at a time, and none to be made up for: the next one finds what a missed one would have found.
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=IN_DOUBT_EVERY)
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=IN_DOUBT_EVERY)])
    try:
        await client.create_schedule(IN_DOUBT_RECOVERY, Schedule(action=sweep, spec=spec, policy=policy))
    except ScheduleAlreadyRunningError:
        pass
    except RPCError as error:
        raise Unreachable("temporal_unreachable", f"Temporal refused a schedule: {error.message}") from error
    return [IN_DOUBT_RECOVERY]
