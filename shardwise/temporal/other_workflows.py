"""Workflows that hold an id of ours but are not ours: of another type, or on a queue that no worker of ours polls.

Temporal lets only one workflow run under an id, and whoever starts the right one joins the wrong one. The saga cannot
begin until the other workflow has ended; only a person can decide whether it may be ended.
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
from shardwise.temporal.calls import answer_or_none, temporal_unreachable
from stack.temporal_client import described
from workflows.orders.saga import TASK_QUEUE

SHOWN_MAX = 20
CODE = "id_held"


@dataclass(frozen=True, slots=True)
class _Expected:
    workflow_type: str
    task_queue: str


# By the prefix of the ids.
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
        """Includes the command that ends it."""
        held_by = f"another workflow holds the id {self.workflow_id}: {self.workflow_type} on queue {self.task_queue}"
        ended_by = f"`temporal workflow terminate --workflow-id {quote(self.workflow_id)}`"
        return printable(f"{held_by}; nothing else can run under that id until it has ended: {ended_by}")


async def list_others(client: Client) -> list[OtherWorkflow]:
    """The newest ones that run, as of a moment ago. Raises `Unreachable`."""
    try:
        return [_other(each) async for each in client.list_workflows(_QUERY, limit=SHOWN_MAX)]
    except RPCError as error:
        raise temporal_unreachable(error.message) from error


async def count_others(client: Client) -> int:
    """As of a moment ago. Raises `RPCError`."""
    return (await client.count_workflows(_QUERY)).count


async def assert_ours(client: Client, workflow_id: str) -> None:
    """`Refused` with `id_held` if another workflow runs under this id. Passes if Temporal does not answer within two
    seconds."""
    other = await answer_or_none(_holder(client, workflow_id))
    if other is not None:
        raise Refused(CODE, other.what)


async def _holder(client: Client, workflow_id: str) -> OtherWorkflow | None:
    found = await described(client, workflow_id)
    if found is None:
        return None
    expected = next(each for prefix, each in _EXPECTED.items() if workflow_id.startswith(prefix))
    is_running = found.status is WorkflowExecutionStatus.RUNNING
    is_ours = (found.workflow_type, found.task_queue) == (expected.workflow_type, expected.task_queue)
    return _other(found) if is_running and not is_ours else None


def _other(found: WorkflowExecution) -> OtherWorkflow:
    return OtherWorkflow(found.id, found.workflow_type, found.task_queue)
