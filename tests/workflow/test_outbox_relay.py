"""The relay's workflow: how it shows what its activities answered, and how long these are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.interfaces import ConsumerPosition, Followed, FollowShard, RelayActivities
from tests.support.metadata import current_details
from tests.workflow.driving import Replays
from tests.workflow.order_driver import until
from workers.runner.sandbox import workflow_runner
from workflows.interfaces import FollowOutbox
from workflows.outbox_relay import OutboxRelay, workflow_id

QUEUE = "relays"


class Answers(RelayActivities):
    """The first calls return at once, with the answer that the test has set; the next ones last for ever."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"project_events": [], "start_reactors": [], "trim_outbox": []}
        self.first: Followed | int = 0

    async def _answer(self, consumer: str, request: FollowShard) -> Followed | int:
        self.seconds[consumer].append(request.seconds)
        if consumer == "project_events" and len(self.seconds[consumer]) == 1:
            return self.first
        while True:
            activity.heartbeat()
            await asyncio.sleep(0.1)

    @activity.defn(name="project_events")
    async def project_events(self, request: FollowShard) -> Followed | int:
        return await self._answer("project_events", request)

    @activity.defn(name="start_reactors")
    async def start_reactors(self, request: FollowShard) -> Followed | int:
        return await self._answer("start_reactors", request)

    @activity.defn(name="trim_outbox")
    async def trim_outbox(self, request: FollowShard) -> Followed | int:
        return await self._answer("trim_outbox", request)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def worker(env: WorkflowEnvironment, answers: Answers) -> AsyncIterator[None]:
    async with Worker(
        env.client,
        task_queue=QUEUE,
        workflows=[OutboxRelay],
        activities=[answers.project_events, answers.start_reactors, answers.trim_outbox],
        workflow_runner=workflow_runner(sandboxed=True),
    ):
        yield


async def called_again(env: WorkflowEnvironment, answers: Answers) -> WorkflowHandle[OutboxRelay, None]:
    handle = await env.client.start_workflow(
        OutboxRelay.run, FollowOutbox("shard-1"), id=workflow_id("shard-1"), task_queue=QUEUE
    )
    await until(lambda: len(answers.seconds["project_events"]) == 2)
    return handle


@pytest.mark.usefixtures("worker")
async def test_its_details_show_the_position_of_every_consumer(env: WorkflowEnvironment, answers: Answers) -> None:
    standing = [
        ConsumerPosition("live", "894", 0, 0.0, False),
        ConsumerPosition("retired", "17", 9, 80.0, True),
        ConsumerPosition("reactors", "890", 3, 1.25, False),
    ]
    answers.first = Followed(7, standing, "500")
    handle = await called_again(env, answers)
    as_of, _, *items, _, about = (await current_details(handle)).splitlines()
    assert as_of.startswith("as of 2")
    assert about.startswith("Follows the events of shard-1. ")
    assert items == [
        "* live at 894: nothing behind",
        "* retired at 17: its position is of another history of the shard",
        "* reactors at 890: 3 events behind, the oldest for 1.2 s",
        "* trimmed up to 500",
    ]
    await replays_and_ends(handle)


@pytest.mark.usefixtures("worker")
async def test_first_calls_are_shorter_by_thirds_and_the_answer_of_an_older_worker_is_understood(
    env: WorkflowEnvironment, answers: Answers
) -> None:
    answers.first = 7
    handle = await called_again(env, answers)
    assert answers.seconds == {"project_events": [5.0, 600.0], "start_reactors": [205.0], "trim_outbox": [405.0]}
    assert (await current_details(handle)).startswith("Follows the events of shard-1. ")
    await replays_and_ends(handle)


async def replays_and_ends(handle: WorkflowHandle[OutboxRelay, None]) -> None:
    replays = Replays()
    await replays.add("as it runs", handle)
    assert await replays.failures([OutboxRelay]) == {}
    await handle.terminate()
