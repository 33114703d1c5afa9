"""The circuit breaker, on its own clock."""

from __future__ import annotations

import pytest

from domain.errors import Unreachable
from shards.connections import breaker
from shards.connections.breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(breaker, "time", made)
    return made


@pytest.fixture
def made(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("shard-1", failures_max=3, open_seconds=1.0)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        breaker.failed("gone")


def is_open(breaker: CircuitBreaker) -> bool:
    try:
        breaker.check()
    except Unreachable:
        return True
    return False


def test_a_new_breaker_lets_calls_pass(made: CircuitBreaker) -> None:
    assert not is_open(made)


def test_a_few_failures_do_not_open_it(made: CircuitBreaker) -> None:
    fail(made, 2)
    assert not is_open(made)


def test_failures_in_a_row_open_it_and_the_message_names_the_shard(made: CircuitBreaker) -> None:
    fail(made, 3)
    with pytest.raises(Unreachable, match="shard-1 does not answer") as refused:
        made.check()
    assert refused.value.code == "shard_unreachable"


def test_a_success_between_failures_starts_the_count_again(made: CircuitBreaker) -> None:
    fail(made, 2)
    made.succeeded()
    fail(made, 2)
    assert not is_open(made)


def test_after_the_wait_exactly_one_caller_tries(made: CircuitBreaker, clock: Clock) -> None:
    fail(made, 3)
    clock.now += 1.0
    assert [is_open(made) for _ in range(5)] == [False, True, True, True, True]


def test_its_success_closes_the_breaker_for_all(made: CircuitBreaker, clock: Clock) -> None:
    fail(made, 3)
    clock.now += 1.0
    made.check()
    made.succeeded()
    assert [is_open(made) for _ in range(5)] == [False] * 5


def test_its_failure_keeps_it_open_for_another_wait(made: CircuitBreaker, clock: Clock) -> None:
    fail(made, 3)
    clock.now += 1.0
    made.check()
    made.failed("gone")
    clock.now += 0.9
    assert is_open(made)
    clock.now += 0.1
    assert not is_open(made)


def test_a_try_that_never_comes_back_does_not_keep_it_open_for_ever(made: CircuitBreaker, clock: Clock) -> None:
    fail(made, 3)
    clock.now += 1.0
    made.check()  # cancelled: neither success nor failure is recorded
    clock.now += 1.0
    assert not is_open(made)
