"""Answers an audit's questions about workflows from Temporal."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from domain.choreography import PLACEMENT_TYPE, saga_id_of
from shards.audit.workflows import ListedWorkflow, Work, WorkflowState
from shardwise.temporal.calls import temporal_unreachable
from stack.temporal_client import described
from workflows.entrance.refused_start import REFUSED
from workflows.orders.saga import ORDER_STATUS
from workflows.transfers.transfer import TRANSFER_STATUS

PAGE_SIZE = 1000
# Without reactors: what they do shows in their order's rows. Without refused starts, which have begun nothing; but a
# client may have set their search attribute on a workflow that was let in, which then completes.
_QUERY = (
    f'WorkflowType IN ("OrderSaga", "{PLACEMENT_TYPE}", "TransferWorkflow") '
    f'AND ({REFUSED.name} IS NULL OR ExecutionStatus = "Completed")'
)


class TemporalWorkflowStates:
    def __init__(self, client: Client) -> None:
        self._client = client

    async def listed(self) -> AsyncGenerator[ListedWorkflow, None]:
        try:
            async for each in self._client.list_workflows(_QUERY, page_size=PAGE_SIZE):
                attributes = each.typed_search_attributes
                status = attributes.get(ORDER_STATUS) or attributes.get(TRANSFER_STATUS)
                yield ListedWorkflow(saga_id_of(each.id), _work(each.status), status)
        except RPCError as error:
            raise temporal_unreachable(error.message) from error

    async def state_of(self, workflow_id: str) -> WorkflowState:
        try:
            description = await described(self._client, workflow_id)
        except RPCError as error:
            raise temporal_unreachable(error.message) from error
        if description is None:
            return WorkflowState(Work.ABSENT)
        completed = description.status is WorkflowExecutionStatus.COMPLETED
        has_failed = description.status is WorkflowExecutionStatus.FAILED
        refused = has_failed and description.typed_search_attributes.get(REFUSED) is not None
        return WorkflowState(_work(description.status), description.run_id, completed, refused)


def _work(status: WorkflowExecutionStatus | None) -> Work:
    return Work.OPEN if status is WorkflowExecutionStatus.RUNNING else Work.CLOSED
