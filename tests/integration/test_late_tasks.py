"""Workflow tasks that take longer than they may, on a real Temporal server: logged by name, and ended at last."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.conftest import FreshNamespace
from workers.run import HOSTED, Hosted, new_worker
from workflows.entrance.entrances import Entrance

QUEUE = "late"
TASK_TIMEOUT = timedelta(seconds=1)
LONGER_THAN_A_TASK_SECONDS = 1.3

begun: Counter[str] = Counter()
"""By workflow id, how often a task of it has begun."""


@workflow.defn
class Blocks:
    """Holds up its first task, at each of its first `times` attempts."""

    @workflow.run
    async def run(self, times: int) -> str:
        mine = workflow.info().workflow_id
        begun[mine] += 1
        if begun[mine] <= times:
            time.sleep(LONGER_THAN_A_TASK_SECONDS)  # noqa: ASYNC251 - it is what the test is about
        return "done"


@workflow.defn
class BlocksAgain:
    """Holds up its first task once, and its second one twice."""

    @workflow.run
    async def run(self) -> str:
        self._hold_up("first", 1)
        await workflow.sleep(0.05)
        self._hold_up("second", 2)
        return "done"

    def _hold_up(self, task: str, times: int) -> None:
        mine = f"{workflow.info().workflow_id} {task}"
        if workflow.unsafe.is_replaying():
            return
        begun[mine] += 1
        if begun[mine] <= times:
            time.sleep(LONGER_THAN_A_TASK_SECONDS)


@workflow.defn
class Fails:
    """A bug, until the second attempt."""

    @workflow.run
    async def run(self) -> str:
        mine = workflow.info().workflow_id
        begun[mine] += 1
        if begun[mine] == 1:
            raise RuntimeError("a bug")
        return "done"


ENTRANCES_OF_A_TEST: dict[str, Entrance[Any]] = {
    "Blocks": Entrance(int, lambda *_: None),
    "BlocksAgain": Entrance(None, lambda *_: None),
    "Fails": Entrance(None, lambda *_: None),
}


@pytest.fixture
async def client(fresh_namespace: FreshNamespace, monkeypatch: pytest.MonkeyPatch) -> Client:
    hosted = Hosted([Blocks, BlocksAgain, Fails], lambda wiring: [])
    monkeypatch.setitem(HOSTED, QUEUE, hosted)
    monkeypatch.setattr("workflows.entrance.entrances.ENTRANCES", ENTRANCES_OF_A_TEST)
    monkeypatch.setattr("workers.runner.entrance.ENTRANCES", ENTRANCES_OF_A_TEST)
    return await fresh_namespace()


def _worker(client: Client) -> Worker:
    router: Any = None
    return new_worker(client, router, Settings(), QUEUE)


async def _start(client: Client, run: Any, *args: Any, id: str) -> WorkflowHandle[Any, Any]:
    return await client.start_workflow(run, args=args, id=id, task_queue=QUEUE, task_timeout=TASK_TIMEOUT)


def _is_refused(caplog: pytest.LogCaptureFixture) -> bool:
    return any("Task not found" in record.getMessage() for record in caplog.records)


def _warned(caplog: pytest.LogCaptureFixture, code: str) -> Sequence[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "code", None) == code]


async def test_a_task_that_is_late_is_named_and_ends_at_last(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Temporal gives the fourth attempt more time, each behind it twice as much: what is always slow ends too."""
    async with _worker(client):
        handle = await _start(client, Blocks.run, 100, id="slow/1")
        assert await handle.result() == "done"
    assert begun["slow/1"] == 4
    late = _warned(caplog, "workflow_task_late")
    assert [(record.levelname, record.workflow, record.attempt) for record in late] == [
        ("WARNING", "slow/1", attempt) for attempt in (1, 2, 3)
    ]
    assert late[0].getMessage().startswith("a task of slow/1 (Blocks) was not finished within the 1 s that it has: ")


async def test_a_task_in_time_ends_the_row(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with _worker(client):
        assert await (await _start(client, BlocksAgain.run, id="again/1")).result() == "done"
    assert [record.attempt for record in _warned(caplog, "workflow_task_late")] == [1, 1, 2]


async def test_a_worker_that_is_late_takes_less(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with _worker(client):
        assert await (await _start(client, Blocks.run, 1, id="slow/2")).result() == "done"
        [less] = _warned(caplog, "worker_late")
        message = "late: takes 2 new workflow tasks at once, after a rest of 0.5 s, and one more each second"
        assert less.getMessage() == message
        assert len(_warned(caplog, "workflow_task_late")) == 1
        caplog.clear()
        # After it, the next ones are in time.
        handles = [await _start(client, Blocks.run, 0, id=f"quick/{number}") for number in range(20)]
        assert [await handle.result() for handle in handles] == ["done"] * 20
    assert sum(begun[handle.id] for handle in handles) == 20
    assert not _warned(caplog, "workflow_task_late")


async def test_a_task_that_fails_is_named_and_takes_nothing_from_the_others(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    async with _worker(client):
        assert await (await _start(client, Fails.run, id="buggy/1")).result() == "done"
    [failed] = _warned(caplog, "workflow_task_failed")
    assert (failed.workflow, failed.attempt) == ("buggy/1", 1)
    assert failed.getMessage().startswith("a task of buggy/1 (Fails) failed after ")
    assert not _warned(caplog, "worker_late")


async def test_an_end_from_outside_is_not_late(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with _worker(client):
        handle = await client.start_workflow(Blocks.run, 1, id="ended/1", task_queue=QUEUE)
        async for _ in attempts(10):
            if begun["ended/1"]:
                break
        await handle.terminate()
        async for _ in attempts(10):
            if _is_refused(caplog):
                break
    # What it had begun was thrown away all the same.
    assert _is_refused(caplog)
    assert not _warned(caplog, "workflow_task_late")
