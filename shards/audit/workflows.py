"""What an audit asks about workflows: which sagas have some, and whether one of them is still at work."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


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


def together(states: Sequence[WorkflowState]) -> WorkflowState:
    """Several workflows of one saga as one: any that is open works on it."""
    work = next((work for work in (Work.OPEN, Work.CLOSED) if any(each.work is work for each in states)), Work.ABSENT)
    known = [each for each in states if each.work is not Work.ABSENT]
    runs = [each.run_id for each in known if each.run_id is not None]
    completed, refused = any(each.completed for each in known), all(each.refused for each in known)
    return WorkflowState(work, " ".join(runs) or None, completed, refused and bool(known))
