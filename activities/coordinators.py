"""What Temporal knows of a two-phase commit's coordinator: the transfer's workflow, which is named after its saga."""

from __future__ import annotations

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities.interfaces import TwoPhaseActivities
from domain.errors import Unreachable
from domain.outages import why_unreachable
from domain.two_phase import Coordinator

_DECISIONS = {
    TwoPhaseActivities.commit_participant.__name__: Coordinator.COMMITTING,
    TwoPhaseActivities.abort_participant.__name__: Coordinator.ABORTING,
}


async def coordinator_of(client: Client, saga_id: str) -> Coordinator:
    """Its decision is the first step of phase two in its history. Only reads. Raises `Unreachable`."""
    try:
        description = await client.get_workflow_handle(saga_id).describe()
        if description.status is WorkflowExecutionStatus.RUNNING:
            return Coordinator.AT_WORK
        run = client.get_workflow_handle(saga_id, run_id=description.run_id)
        async for event in run.fetch_history_events():
            if event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                step = event.activity_task_scheduled_event_attributes.activity_type.name
                if step in _DECISIONS:
                    return _DECISIONS[step]
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise Unreachable(
                "temporal_unreachable", f"Temporal does not answer: {why_unreachable(error.message)}"
            ) from error
    return Coordinator.GONE
