"""What of an earlier fork is still true in a later one."""

from __future__ import annotations

import pytest

from domain.histories import Fork, Lineage, Standing
from tests.support.points import FORK_A, FORK_B, FORK_C

PROMOTED = Lineage([Fork(FORK_A), Fork(FORK_B, began=1000, ended_below=50)])


@pytest.mark.parametrize(
    ("lsn", "ended_below", "standing"),
    [
        (999, 0, Standing.HERE),
        (1000, 50, Standing.HERE),
        (1001, 0, Standing.LOST),
        (0, 51, Standing.LOST),
    ],
)
def test_at_or_below_the_beginning_carries_over_and_above_it_is_lost(
    lsn: int, ended_below: int, standing: Standing
) -> None:
    assert PROMOTED.standing(FORK_A, lsn, ended_below) is standing


def test_of_its_own_fork_everything_is_here_or_will_be() -> None:
    assert PROMOTED.standing(FORK_B, 10**12, 10**12) is Standing.HERE
    assert PROMOTED.current == FORK_B


def test_of_a_fork_that_it_does_not_know_nothing_is_said() -> None:
    assert PROMOTED.standing(FORK_C, 0, 0) is Standing.ELSEWHERE


def test_the_lowest_beginning_since_then_counts() -> None:
    twice = Lineage([Fork(FORK_A), Fork(FORK_B, 1000), Fork(FORK_C, 900)])
    assert twice.standing(FORK_A, 900, 0) is twice.standing(FORK_B, 900, 0) is Standing.HERE
    assert twice.standing(FORK_A, 950, 0) is twice.standing(FORK_B, 950, 0) is Standing.LOST


def test_a_fork_between_has_lost_what_the_newest_could_have_kept() -> None:
    twice = Lineage([Fork(FORK_A), Fork(FORK_B, 1000), Fork(FORK_C, 1100)])
    assert twice.standing(FORK_A, 1050, 0) is Standing.LOST
    assert twice.standing(FORK_B, 1050, 0) is Standing.HERE


def test_where_nobody_knows_what_had_ended_no_transaction_id_carries_over() -> None:
    assert Lineage([Fork(FORK_A), Fork(FORK_B, 1000)]).standing(FORK_A, 0, 1) is Standing.LOST


@pytest.mark.parametrize("forks", [[], [Fork(FORK_A), Fork(FORK_B), Fork(FORK_A)]])
def test_a_history_without_forks_or_with_one_twice_is_none(forks: list[Fork]) -> None:
    with pytest.raises(ValueError, match="at least one fork"):
        Lineage(forks)


@pytest.mark.parametrize("fork", ["", "A", FORK_A.upper(), FORK_A.replace("-", ""), FORK_A + "\n"])
def test_only_a_random_id_names_a_fork(fork: str) -> None:
    with pytest.raises(ValueError, match="not the id of a fork"):
        Fork(fork)
