"""What an audit asks about workflows, as Temporal answers it."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError

from domain.choreography import PLACEMENT_TYPE, saga_id_of
from shards.audit.workflows import ListedWorkflow, Work, WorkflowState
from shardwise.temporal.calls import no_answer
from stack.temporal_client import described
from workflows.entrance.refused_start import REFUSED
from workflows.orders.saga import ORDER_STATUS
from workflows.transfers.transfer import TRANSFER_STATUS

PAGE_SIZE = 1000
# Reactors leave no trace of their own: what they do is their order's, and shows in its rows. What was refused at its
# start leaves none at all: it has failed. A client may have set that search attribute on what was let in.
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
                told = each.typed_search_attributes
                status = told.get(ORDER_STATUS) or told.get(TRANSFER_STATUS)
                yield ListedWorkflow(saga_id_of(each.id), _work(each.status), status)
        except RPCError as error:
            raise no_answer(error.message) from error

    async def state_of(self, workflow_id: str) -> WorkflowState:
        try:
            description = await described(self._client, workflow_id)
        except RPCError as error:
            raise no_answer(error.message) from error
        if description is None:
            return WorkflowState(Work.ABSENT)
        completed = description.status is WorkflowExecutionStatus.COMPLETED
        has_failed = description.status is WorkflowExecutionStatus.FAILED
        refused = has_failed and description.typed_search_attributes.get(REFUSED) is not None
        return WorkflowState(_work(description.status), description.run_id, completed, refused)


def _work(status: WorkflowExecutionStatus | None) -> Work:
    return Work.OPEN if status is WorkflowExecutionStatus.RUNNING else Work.CLOSED
