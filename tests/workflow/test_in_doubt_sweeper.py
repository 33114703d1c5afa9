"""The sweep that runs for ever: how often, what an operator can do, and what its history costs."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest
from temporalio import activity
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.interfaces import InDoubtActivities, ResolveInDoubt
from domain.in_doubt import InDoubtReport, Resolved, Waiting
from domain.two_phase import ParticipantOutcome
from tests.support.metadata import current_details
from tests.workflow.driving import Replays
from tests.workflow.order_driver import until
from workers.runner.sandbox import workflow_runner
from workflows.interfaces import SWEEP_EVERY_SECONDS, SweepInDoubt
from workflows.transfers import in_doubt_sweeper
from workflows.transfers.in_doubt_sweeper import WORKFLOW_ID, InDoubtSweeper

Handle = WorkflowHandle[InDoubtSweeper, None]

_queues = (f"sweeps-{n}" for n in itertools.count())
NOTHING = InDoubtReport([], [], [])
SOMETHING = InDoubtReport(
    [Resolved("shardwise:transfer/ada/t1:source", "shard-1", "transfer/ada/t1", ParticipantOutcome.ABORTED)],
    [Waiting("shardwise:transfer/ada/t2:source", "shard-2", 7.0, "its workflow runs")],
    ["shard-3"],
)


class Sweeps(InDoubtActivities):
    def __init__(self) -> None:
        self.count = 0
        self.finds = NOTHING
        self.fails = False

    @activity.defn(name="resolve_in_doubt")
    async def resolve_in_doubt(self, request: ResolveInDoubt) -> InDoubtReport:
        self.count += 1
        if self.fails:
            raise ApplicationError("no shard map", non_retryable=True)
        return self.finds


@pytest.fixture(scope="module")
async def replays() -> AsyncIterator[Replays]:
    made = Replays()
    yield made
    assert await made.failures([InDoubtSweeper]) == {}


@pytest.fixture
def sweeps() -> Sweeps:
    return Sweeps()


@pytest.fixture
async def queue(env: WorkflowEnvironment, sweeps: Sweeps) -> AsyncIterator[str]:
    name = next(_queues)
    async with Worker(
        env.client,
        task_queue=name,
        workflows=[InDoubtSweeper],
        activities=[sweeps.resolve_in_doubt],
        workflow_runner=workflow_runner(sandboxed=True),
    ):
        yield name


@pytest.fixture
async def sweeper(
    env: WorkflowEnvironment, queue: str, replays: Replays, request: pytest.FixtureRequest
) -> AsyncIterator[Handle]:
    handle = await env.client.start_workflow(InDoubtSweeper.run, SweepInDoubt(), id=WORKFLOW_ID, task_queue=queue)
    yield handle
    await end(handle)
    await replays.add(request.node.nodeid, handle)


async def test_it_sweeps_every_half_minute_six_events_each(
    env: WorkflowEnvironment, sweeper: Handle, sweeps: Sweeps
) -> None:
    await swept(sweeps, 1)
    before = (await sweeper.describe()).history_length
    await env.sleep(3600.0)
    hour = 3600 / SWEEP_EVERY_SECONDS
    assert hour - 2 <= sweeps.count - 1 <= hour
    assert (await sweeper.describe()).history_length - before <= 6 * hour


async def test_its_findings_are_in_its_details_and_its_query(sweeper: Handle, sweeps: Sweeps) -> None:
    await swept(sweeps, 1)
    assert (await sweeper.execute_update(InDoubtSweeper.sweep)).report == NOTHING
    assert (await current_details(sweeper)).splitlines()[0].endswith("Z: nothing is in doubt")
    sweeps.finds = SOMETHING
    found = await sweeper.execute_update(InDoubtSweeper.sweep)
    assert found.report == SOMETHING
    assert await sweeper.query(InDoubtSweeper.last_sweep) == found
    assert (await current_details(sweeper)).splitlines() == [
        f"last sweep at {found.at:%Y-%m-%dT%H:%M:%SZ}: 1 ended, 1 wait",
        "",
        "* ended shardwise:transfer/ada/t1:source on shard-1: aborted",
        "* waits: shardwise:transfer/ada/t2:source on shard-2, its workflow runs",
        "* shard-3 does not answer",
        "",
        in_doubt_sweeper.ABOUT,
    ]


async def test_paused_it_sweeps_only_when_it_is_asked(
    env: WorkflowEnvironment, sweeper: Handle, sweeps: Sweeps
) -> None:
    await swept(sweeps, 1)
    await sweeper.signal(InDoubtSweeper.pause)
    await env.sleep(3600.0)
    assert sweeps.count == 1
    assert (await current_details(sweeper)).startswith("paused: ")
    events = (await sweeper.describe()).history_length
    await env.sleep(3600.0)
    assert (await sweeper.describe()).history_length == events
    await sweeper.execute_update(InDoubtSweeper.sweep)
    assert sweeps.count == 2
    await sweeper.signal(InDoubtSweeper.resume)
    await env.sleep(SWEEP_EVERY_SECONDS)
    await swept(sweeps, 3)
    assert not (await current_details(sweeper)).startswith("paused: ")


async def test_a_sweep_that_fails_is_shown_and_the_next_one_comes(
    env: WorkflowEnvironment, sweeper: Handle, sweeps: Sweeps
) -> None:
    await swept(sweeps, 1)
    sweeps.fails = True
    failed = await sweeper.execute_update(InDoubtSweeper.sweep)
    assert (failed.report, failed.failure) == (None, "no shard map")
    assert (await current_details(sweeper)).splitlines()[0].endswith("Z: failed: no shard map")
    sweeps.fails = False
    await env.sleep(2 * SWEEP_EVERY_SECONDS)
    last = await sweeper.query(InDoubtSweeper.last_sweep)
    assert last is not None
    assert last.report == NOTHING


async def test_its_history_is_begun_anew_and_a_pause_outlives_that(
    env: WorkflowEnvironment, queue: str, sweeps: Sweeps
) -> None:
    first = await env.client.start_workflow(
        InDoubtSweeper.run, SweepInDoubt(sweeps_max=3), id=WORKFLOW_ID, task_queue=queue
    )
    newest = env.client.get_workflow_handle_for(InDoubtSweeper.run, WORKFLOW_ID)
    await env.sleep(10 * SWEEP_EVERY_SECONDS)
    second = await newest.describe()
    assert second.run_id != first.first_execution_run_id
    assert second.history_length < 4 * 6
    assert 9 <= sweeps.count <= 11
    await newest.signal(InDoubtSweeper.pause)
    # Each sweep that is asked for counts as well, and is answered though its history ends.
    for _ in range(4):
        assert (await newest.execute_update(InDoubtSweeper.sweep)).report == NOTHING
    await env.sleep(SWEEP_EVERY_SECONDS)
    assert (await newest.describe()).run_id != second.run_id
    count = sweeps.count
    await env.sleep(3600.0)
    assert sweeps.count == count
    assert (await current_details(newest)).startswith("paused: ")
    await end(newest)


async def end(handle: Handle) -> None:
    """Between its tasks: one that a workflow's end cuts off keeps this server's clock from skipping for good."""

    async def is_between() -> bool:
        names = [EventType.Name(each.event_type) for each in (await handle.fetch_history()).events]
        return names.count("EVENT_TYPE_WORKFLOW_TASK_SCHEDULED") == names.count("EVENT_TYPE_WORKFLOW_TASK_COMPLETED")

    await until(is_between)
    await handle.terminate()


async def swept(sweeps: Sweeps, count: int) -> None:
    await until(lambda: sweeps.count >= count)
