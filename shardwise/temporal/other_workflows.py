"""Workflows that hold an id of ours and are not ours: of another type, or on a queue where nobody carries them out.

Temporal lets one workflow run under an id, whatever it is, and whoever starts the right one joins it. Nothing of the
saga is begun until the other one has ended; nobody but a person can tell whether it may be.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from shlex import quote

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError

from domain.choreography import PLACEMENT_TYPE, Reactor, Service, placement_id
from domain.errors import Refused
from domain.identifiers import order_saga_id
from domain.text import printable
from shardwise.temporal.calls import answered, no_answer
from stack.temporal_client import described
from workflows.orders.saga import TASK_QUEUE

SHOWN_MAX = 20
CODE = "id_held"


@dataclass(frozen=True, slots=True)
class _Expected:
    workflow_type: str
    task_queue: str


# By what the ids begin with.
_EXPECTED: Mapping[str, _Expected] = {
    order_saga_id(""): _Expected("OrderSaga", TASK_QUEUE),
    placement_id(""): _Expected(PLACEMENT_TYPE, Service.ORDERS),
    **{f"{each}/": _Expected(each.workflow_type, each.service) for each in Reactor},
}
_OTHERS = " OR ".join(
    f'(WorkflowId STARTS_WITH "{prefix}" AND '
    f'(WorkflowType != "{expected.workflow_type}" OR TaskQueue != "{expected.task_queue}"))'
    for prefix, expected in _EXPECTED.items()
)
_QUERY = f'ExecutionStatus = "Running" AND ({_OTHERS})'


@dataclass(frozen=True, slots=True)
class OtherWorkflow:
    workflow_id: str
    workflow_type: str
    task_queue: str

    @property
    def what(self) -> str:
        """With what ends it."""
        held_by = f"another workflow holds the id {self.workflow_id}: {self.workflow_type} on queue {self.task_queue}"
        ended_by = f"`temporal workflow terminate --workflow-id {quote(self.workflow_id)}`"
        return printable(f"{held_by}; until it has ended nobody carries out what the id is for: {ended_by}")


async def list_others(client: Client) -> list[OtherWorkflow]:
    """The newest that run, as of a moment ago. Raises `Unreachable`."""
    try:
        return [_told(each) async for each in client.list_workflows(_QUERY, limit=SHOWN_MAX)]
    except RPCError as error:
        raise no_answer(error.message) from error


async def count_others(client: Client) -> int:
    """As of a moment ago. Raises `RPCError`."""
    return (await client.count_workflows(_QUERY)).count


async def assert_ours(client: Client, workflow_id: str) -> None:
    """`Refused` with `id_held` where another workflow runs under this id. Nothing where Temporal does not answer within
    two seconds."""
    other = await answered(_holder(client, workflow_id))
    if other is not None:
        raise Refused(CODE, other.what)


async def _holder(client: Client, workflow_id: str) -> OtherWorkflow | None:
    found = await described(client, workflow_id)
    if found is None:
        return None
    expected = next(each for prefix, each in _EXPECTED.items() if workflow_id.startswith(prefix))
    is_running = found.status is WorkflowExecutionStatus.RUNNING
    is_ours = (found.workflow_type, found.task_queue) == (expected.workflow_type, expected.task_queue)
    return _told(found) if is_running and not is_ours else None


def _told(found: WorkflowExecution) -> OtherWorkflow:
    return OtherWorkflow(found.id, found.workflow_type, found.task_queue)
