"""How many workflow tasks a worker takes, with a clock that the test moves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from temporalio.worker import SlotPermit, SlotReleaseContext

from workers.task_slots import CALM_SECONDS, LIMIT_MIN, REST_SECONDS_MAX, REST_SECONDS_MIN, WorkflowTaskSlots

TASK_SECONDS = 5.0


class Worker:
    """Takes as many tasks as it may, as Temporal's core does."""

    def __init__(self, most: int) -> None:
        self.now = 100.0
        self.slots = WorkflowTaskSlots(most, lambda: self.now)
        self.held: list[SlotPermit] = []

    def poll(self, is_sticky: bool = False) -> SlotPermit | None:
        context: Any = SimpleNamespace(is_sticky=is_sticky)
        return self.slots.try_reserve_slot(context)

    def take(self, is_sticky: bool = False) -> bool:
        """A poll that comes back with a task at once. Sticky: of a workflow that the worker has in its cache."""
        permit = self.poll(is_sticky)
        if permit is None:
            return False
        context: Any = SimpleNamespace(permit=permit)
        self.slots.mark_slot_used(context)
        self.held.append(permit)
        return True

    def take_all(self, is_sticky: bool = False) -> int:
        while self.take(is_sticky):
            pass
        return len(self.held)

    def finish(self, count: int) -> None:
        for _ in range(count):
            self.slots.release_slot(SlotReleaseContext(None, self.held.pop()))


def test_a_worker_in_time_takes_as_many_as_the_setting_says() -> None:
    worker = Worker(most=40)
    assert worker.take_all() == 40
    worker.finish(15)
    worker.now += 1000
    assert worker.take_all() == 40


def test_a_late_task_halves_what_is_taken_and_rests_first() -> None:
    worker = Worker(most=40)
    worker.take_all()
    worker.slots.late(TASK_SECONDS)
    assert worker.slots.limit == 20
    worker.finish(40)
    assert not worker.take()
    worker.now += REST_SECONDS_MIN
    assert worker.take_all() == 20


def test_the_tasks_in_progress_are_halved_and_not_the_limit() -> None:
    worker = Worker(most=1000)
    for _ in range(12):
        worker.take()
    worker.slots.late(TASK_SECONDS)
    assert worker.slots.limit == 6


def test_tasks_that_were_taken_before_the_cut_do_not_cut_again() -> None:
    worker = Worker(most=40)
    worker.take_all()
    for _ in range(40):
        worker.slots.late(TASK_SECONDS)
        worker.now += TASK_SECONDS / 41
    assert worker.slots.limit >= 20


def test_it_grows_by_one_a_second_up_to_the_setting() -> None:
    worker = Worker(most=40)
    worker.take_all()
    worker.slots.late(TASK_SECONDS)
    worker.now += REST_SECONDS_MIN + 7
    assert worker.slots.limit == 27
    worker.now += 1000
    assert worker.slots.limit == 40


def test_a_worker_late_again_and_again_rests_longer_but_never_stops() -> None:
    worker = Worker(most=40)
    worker.take_all()
    rests = []
    for _ in range(8):
        worker.slots.late(TASK_SECONDS)
        worker.finish(len(worker.held))
        began = worker.now
        while not worker.take():
            worker.now += REST_SECONDS_MIN / 8
        rests.append(worker.now - began)
        worker.now += TASK_SECONDS
    assert rests == [0.5, 1, 2, 4, 8, 8, 8, 8]
    assert rests[-1] == REST_SECONDS_MAX
    assert worker.slots.limit >= LIMIT_MIN
    worker.now += REST_SECONDS_MAX + CALM_SECONDS
    worker.slots.late(TASK_SECONDS)
    worker.now += REST_SECONDS_MIN
    assert worker.take()


def test_workflows_that_the_worker_has_begun_are_not_held_up() -> None:
    worker = Worker(most=40)
    worker.take_all()
    worker.finish(10)
    worker.slots.late(TASK_SECONDS)
    assert not worker.take()
    assert worker.take(is_sticky=True)
    assert worker.take_all(is_sticky=True) == 40


def test_each_queue_is_polled_as_long_as_its_tasks_may_be_taken() -> None:
    """A poll that waits keeps its slot. Tasks of the other queue would wait for it until they are given to all."""
    worker = Worker(most=40)
    for is_sticky in (True, False):
        polls = sum(worker.poll(is_sticky) is not None for _ in range(100))
        assert polls == (40 if is_sticky else 1)
