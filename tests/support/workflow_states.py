"""Workflows as `verify` sees them, kept in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from shards.audit.workflows import ListedWorkflow, Work, WorkflowState


class WorkflowsInMemory:
    """A workflow that was not put here is absent, as after its retention."""

    def __init__(self) -> None:
        self._workflows: dict[str, tuple[Work, str | None, int]] = {}
        # Awaited before each answer: what happens between two looks of an audit happens here.
        self.before_state_of: Callable[[str], Awaitable[None]] | None = None

    def put(self, saga_id: str, work: Work, status: str | None = None, runs: int = 1) -> None:
        """`runs`: how often it is listed; all but the last have ended."""
        self._workflows[saga_id] = (work, status, runs)

    async def listed(self) -> AsyncGenerator[ListedWorkflow, None]:
        for saga_id, (work, status, runs) in list(self._workflows.items()):
            yield ListedWorkflow(saga_id, work, status)
            for _ in range(runs - 1):
                yield ListedWorkflow(saga_id, Work.CLOSED, status)

    async def state_of(self, workflow_id: str) -> WorkflowState:
        if self.before_state_of is not None:
            await self.before_state_of(workflow_id)
        if workflow_id not in self._workflows:
            return WorkflowState(Work.ABSENT)
        return WorkflowState(self._workflows[workflow_id][0], run_id="1")
