"""How workflows are run, the same for workers and replays: their input is checked, and optionally sandboxed."""

from __future__ import annotations

from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from workers.runner.entrance import CheckedRunner

# Loaded once for all workflows instead of once for each. The sandbox checks nothing inside these, so import rules keep
# our own ones deterministic (pyproject.toml).
PASSED_THROUGH = (
    *("domain", "activities", "workflows.interfaces"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions"),
)


def workflow_runner(sandboxed: bool) -> WorkflowRunner:
    """The sandbox finds non-determinism and costs a third of a worker's CPU: on in workflow tests, replays
    and `make battery`; a setting in production."""
    if not sandboxed:
        return CheckedRunner(UnsandboxedWorkflowRunner())
    restrictions = SandboxRestrictions.default.with_passthrough_modules(*PASSED_THROUGH)
    return CheckedRunner(SandboxedWorkflowRunner(restrictions=restrictions))
