"""What `verify` asks Temporal: which sagas' workflows there are, and whether one of them is still at work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from domain.choreography import PLACEMENT_TYPE, saga_id_of
from domain.errors import Unreachable
from domain.outages import why_unreachable
from workflows.order_saga import ORDER_STATUS
from workflows.refused_start import REFUSED
from workflows.transfer import TRANSFER_STATUS

PAGE_SIZE = 1000
# Reactors leave no trace of their own: what they do is their order's, and shows in its rows. What was refused at its
# start leaves none at all: it has failed. A client may have set that search attribute on what was let in.
_QUERY = (
    f'WorkflowType IN ("OrderSaga", "{PLACEMENT_TYPE}", "TransferWorkflow") '
    f'AND ({REFUSED.name} IS NULL OR ExecutionStatus = "Completed")'
)


class Work(StrEnum):
    """`ABSENT`: Temporal does not know it, or no longer: closed workflows are forgotten after their retention."""

    OPEN = "open"
    CLOSED = "closed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """Equal for the same state of the same run: a saga that was started again has another `run_id`. `completed`: it
    came to its own end, and was not terminated. `refused`: at its start, so that nothing of it was begun.
    """

    work: Work
    run_id: str | None = None
    completed: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ListedWorkflow:
    """`status` is what the workflow told last: its search attribute `OrderStatus` or `TransferStatus`."""

    saga_id: str
    work: Work
    status: str | None


class WorkflowStates(Protocol):
    def listed(self) -> AsyncGenerator[ListedWorkflow, None]:
        """Every order's and transfer's workflow, as known a moment ago; of a choreographed order the one that placed
        it. Raises `Unreachable`."""

    async def state_of(self, workflow_id: str) -> WorkflowState:
        """As it is now. Raises `Unreachable`."""


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
            raise _no_answer(error) from error

    async def state_of(self, workflow_id: str) -> WorkflowState:
        try:
            description = await self._client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return WorkflowState(Work.ABSENT)
            raise _no_answer(error) from error
        completed = description.status is WorkflowExecutionStatus.COMPLETED
        has_failed = description.status is WorkflowExecutionStatus.FAILED
        refused = has_failed and description.typed_search_attributes.get(REFUSED) is not None
        return WorkflowState(_work(description.status), description.run_id, completed, refused)


def together(states: Sequence[WorkflowState]) -> WorkflowState:
    """Several workflows of one saga as one: any that is open works on it."""
    work = next((work for work in (Work.OPEN, Work.CLOSED) if any(each.work is work for each in states)), Work.ABSENT)
    known = [each for each in states if each.work is not Work.ABSENT]
    runs = [each.run_id for each in known if each.run_id is not None]
    completed, refused = any(each.completed for each in known), all(each.refused for each in known)
    return WorkflowState(work, " ".join(runs) or None, completed, refused and bool(known))


def _work(status: WorkflowExecutionStatus | None) -> Work:
    return Work.OPEN if status is WorkflowExecutionStatus.RUNNING else Work.CLOSED


def _no_answer(error: RPCError) -> Unreachable:
    return Unreachable("temporal_unreachable", f"Temporal does not answer: {why_unreachable(error.message)}")
