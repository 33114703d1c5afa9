"""What the drivers of orders and transfers have in common, and the replays of all workflows that they start."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from domain.step_ids import parse_activity_id
from domain.steps import Step
from tests.workflow.faults import Fails, Fault, Hangs
from tests.workflow.modes import Mode
from tracing.local_rounds import MARKER_NAME
from workers.runner.sandbox import workflow_runner

# A SKU range or a participant; the first range has no lower bound.
_PART = re.compile(r"[A-Za-z0-9._-]*")


def activities_in(history: WorkflowHistory) -> Iterator[tuple[str, str]]:
    """Type and id of each, local ones too."""
    for event in history.events:
        scheduled = event.activity_task_scheduled_event_attributes
        if scheduled.activity_id:
            yield scheduled.activity_type.name, scheduled.activity_id
        marker = event.marker_recorded_event_attributes
        if marker.marker_name == MARKER_NAME:
            kept = json.loads(marker.details["data"].payloads[0].data)
            yield kept["activity_type"], kept["activity_id"]


class Injectable(Protocol):
    def inject(self, step: str, *faults: Fault) -> None: ...


class Driver:
    """Starts workflows in one mode and makes their steps hang. `inject`s into the world behind the activities."""

    def __init__(self, env: WorkflowEnvironment, mode: Mode, world: Injectable) -> None:
        self.env = env
        self.mode = mode
        self._world = world
        self.started: list[WorkflowHandle[Any, Any]] = []

    @property
    def local_attempts(self) -> int:
        return self.mode.local_attempts

    def hang_durably(self, step: str, durable: bool = False) -> Hangs:
        """The step hangs as a regular activity in every mode, so that all steps before it are in the history.
        `durable`: it never is a local one."""
        hang = Hangs()
        self._world.inject(step, *[Fails()] * (0 if durable else self.local_attempts), hang)
        return hang


class Replays:
    """Every history that a module's tests leave behind, replayed when the last of them has ended.

    Once for all: a replayer loads every workflow into the sandbox first, which takes longer than most replays.
    """

    def __init__(self) -> None:
        self._name_of: dict[str, str] = {}
        self._histories: list[WorkflowHistory] = []

    async def add(self, test: str, handle: WorkflowHandle[Any, Any]) -> None:
        """The history as it is now."""
        self.add_history(test, await handle.fetch_history())

    def add_history(self, name: str, history: WorkflowHistory) -> None:
        self._name_of[history.run_id] = name
        self._histories.append(history)

    def misnamed(self) -> list[str]:
        """Activities of steps whose id does not name the step: by that histories and rows are joined."""
        found = []
        for activity_type, activity_id in (each for history in self._histories for each in activities_in(history)):
            named = parse_activity_id(activity_id)
            is_named = named is not None and named.step == activity_type and _PART.fullmatch(named.part or "")
            if activity_type in set(Step) and not is_named:
                found.append(f"{activity_type} has the id {activity_id}")
        return found

    async def failures(self, workflows: list[type]) -> dict[str, str]:
        """By name, the histories that today's code would not have made."""
        replayer = Replayer(
            workflows=workflows,
            workflow_runner=workflow_runner(sandboxed=True),
            data_converter=pydantic_data_converter,
        )

        async def histories() -> AsyncIterator[WorkflowHistory]:
            for history in self._histories:
                yield history

        replayed = await replayer.replay_workflows(histories(), raise_on_replay_failure=False)
        return {self._name_of[run_id]: str(error) for run_id, error in replayed.replay_failures.items()}
