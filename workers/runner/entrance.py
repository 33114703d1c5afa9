"""Checks a workflow's input before the workflow sees it, whoever has started it.

A check inside the workflow would be too late. The SDK decodes the input first, and input that cannot be decoded fails
the workflow task, again and again. Exception types that fail the workflow instead would also fail it for an activity's
result that cannot be decoded, which is a bug and must wait for a deploy that fixes it. Nor does the SDK check the
number of arguments before it calls the workflow's constructor; an update's surplus arguments are dropped silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from temporalio import workflow
from temporalio.api.common.v1 import Payload
from temporalio.bridge.proto.workflow_activation import (
    DoUpdate,
    InitializeWorkflow,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowInstance, WorkflowInstanceDetails

from domain.errors import InvalidInput
from workers.runner.wrapped_runner import WrappedInstance, WrappedRunner
from workflows.entrance.bad_input import INVALID_INPUT
from workflows.entrance.entrances import ENTRANCES, read_start
from workflows.entrance.refused_start import Fault, RefusedStart

_REFUSED_START = workflow._Definition.must_from_class(RefusedStart)


class CheckedRunner(WrappedRunner):
    """Runs workflows as `runner` does, once their input is checked; a refused one is run as `RefusedStart`.

    A workflow type without an entrance cannot be hosted.
    """

    def prepare_workflow(self, defn: workflow._Definition) -> None:
        _assert_has_entrance(defn)
        super().prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _CheckedInstance(det, super().create_instance(det))


def _assert_has_entrance(defn: workflow._Definition) -> None:
    entrance = ENTRANCES.get(defn.name or "")
    if entrance is None:
        raise TypeError(f"workflow type {defn.name} has no entrance: workflows.entrance must say what it takes")
    wanted = [entrance.request] if entrance.request is not None else []
    if (defn.arg_types or []) != wanted:
        raise TypeError(f"workflow type {defn.name} takes {defn.arg_types}, but its entrance accepts {wanted}")


class _CheckedInstance(WrappedInstance):
    def __init__(self, det: WorkflowInstanceDetails, instance: WorkflowInstance) -> None:
        super().__init__(instance)
        self._det = det
        self._fault: InvalidInput | None = None

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        for job in act.jobs:
            if job.HasField("initialize_workflow"):
                self._check_start(job.initialize_workflow)
        wrong = [(job, fault) for job in act.jobs if (fault := self._update_fault(job)) is not None]
        for job, _ in wrong:
            act.jobs.remove(job)
        completion = super().activate(act)
        if completion.HasField("successful"):
            for number, (job, fault) in enumerate(wrong):
                completion.successful.commands.insert(number, self._rejected(job.do_update, fault))
        return completion

    def _check_start(self, start: InitializeWorkflow) -> None:
        info = self._det.info
        try:
            read_start(info.workflow_type, info.workflow_id, start.arguments)
        except InvalidInput as error:
            self._fault = error
            del start.arguments[:]
            start.arguments.extend(self._converted(Fault.of(error)))
            self._instance = asyncio.run(self._refused())

    def _update_fault(self, job: WorkflowActivationJob) -> InvalidInput | None:
        """Why an update that is not accepted yet must be rejected: its workflow's start is refused, or it has too many
        or too few arguments. The SDK itself rejects arguments that it cannot decode."""
        if not job.HasField("do_update") or not job.do_update.run_validator:
            return None
        if self._fault is not None:
            return self._fault
        update = job.do_update
        known = self._det.defn.updates.get(update.name)
        count = len(known.arg_types or []) if known is not None else len(update.input)
        if len(update.input) == count:
            return None
        expected = {0: "no argument", 1: "one argument"}.get(count, f"{count} arguments")
        return InvalidInput(None, f"{update.name}: expected {expected}, got {len(update.input)}")

    def _rejected(self, update: DoUpdate, fault: InvalidInput) -> WorkflowCommand:
        """Rejected before it is accepted, so that it leaves nothing in the history."""
        command = WorkflowCommand()
        command.update_response.protocol_instance_id = update.protocol_instance_id
        self._det.failure_converter_class().to_failure(
            ApplicationError(fault.message, {"field": fault.field}, type=INVALID_INPUT, non_retryable=True),
            self._det.payload_converter_factory(),
            command.update_response.rejected,
        )
        return command

    async def _refused(self) -> WorkflowInstance:
        """Async because the SDK needs a running loop to create an instance; activations have none."""
        return UnsandboxedWorkflowRunner().create_instance(replace(self._det, defn=_REFUSED_START))

    def _converted(self, fault: Fault) -> Sequence[Payload]:
        return self._det.payload_converter_factory().to_payloads([fault])
