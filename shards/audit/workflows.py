"""What an audit needs to know about workflows: which sagas have one, and whether it still works on the saga."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Work(StrEnum):
    """`ABSENT`: Temporal does not know it, perhaps because it closed and its retention has ended."""

    OPEN = "open"
    CLOSED = "closed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class WorkflowState:
    """Equal for the same state of the same run: a saga that was started again has another `run_id`. `completed`: it
    ended by itself and was not terminated. `refused`: its start was refused, so that nothing was begun.
    """

    work: Work
    run_id: str | None = None
    completed: bool = False
    refused: bool = False


@dataclass(frozen=True, slots=True)
class ListedWorkflow:
    """`status` is the workflow's search attribute `OrderStatus` or `TransferStatus`."""

    saga_id: str
    work: Work
    status: str | None


class WorkflowStates(Protocol):
    def listed(self) -> AsyncGenerator[ListedWorkflow, None]:
        """The workflows of all orders and transfers, as of a moment ago; for a choreographed order the one that placed
        it. Raises `Unreachable`."""

    async def state_of(self, workflow_id: str) -> WorkflowState:
        """The workflow's state now. Raises `Unreachable`."""


def together(states: Sequence[WorkflowState]) -> WorkflowState:
    """The joint state of one saga's workflows: it is open if any of them is."""
    work = next((work for work in (Work.OPEN, Work.CLOSED) if any(each.work is work for each in states)), Work.ABSENT)
    known = [each for each in states if each.work is not Work.ABSENT]
    runs = [each.run_id for each in known if each.run_id is not None]
    completed, refused = any(each.completed for each in known), all(each.refused for each in known)
    return WorkflowState(work, " ".join(runs) or None, completed, refused and bool(known))
