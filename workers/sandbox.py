"""What workflow code may reach, the same for workers and replays."""

from __future__ import annotations

from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

# Loaded once for all workflows instead of once per workflow. The sandbox catches nothing inside these, so what is ours
# of them is kept clean by rule (pyproject.toml).
PASSED_THROUGH = (
    *("domain", "activities", "workflows.interfaces"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions"),
)


def workflow_runner(sandboxed: bool) -> WorkflowRunner:
    """The sandbox finds non-determinism and costs a third of a worker's CPU: always on in tests and replays, a
    setting in production."""
    if not sandboxed:
        return UnsandboxedWorkflowRunner()
    return SandboxedWorkflowRunner(restrictions=SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH))
