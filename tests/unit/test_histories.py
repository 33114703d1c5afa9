"""What of an earlier fork is still true in a later one."""

from __future__ import annotations

import pytest

from domain.histories import Fork, Lineage, Standing
from tests.support.points import FORK_A, FORK_B, FORK_C

PROMOTED = Lineage([Fork(FORK_A), Fork(FORK_B, began=1000)])


@pytest.mark.parametrize(("lsn", "standing"), [(999, Standing.HERE), (1000, Standing.HERE), (1001, Standing.LOST)])
def test_at_or_below_the_beginning_carries_over_and_above_it_is_lost(lsn: int, standing: Standing) -> None:
    assert PROMOTED.standing(FORK_A, lsn) is standing


def test_of_its_own_fork_everything_is_here_or_will_be() -> None:
    assert PROMOTED.standing(FORK_B, 10**12) is Standing.HERE
    assert PROMOTED.current == FORK_B


def test_of_a_fork_that_it_does_not_know_nothing_is_said() -> None:
    assert PROMOTED.standing(FORK_C, 0) is Standing.ELSEWHERE


def test_the_lowest_beginning_since_then_counts() -> None:
    twice = Lineage([Fork(FORK_A), Fork(FORK_B, 1000), Fork(FORK_C, 900)])
    assert twice.standing(FORK_A, 900) is twice.standing(FORK_B, 900) is Standing.HERE
    assert twice.standing(FORK_A, 950) is twice.standing(FORK_B, 950) is Standing.LOST


def test_a_fork_between_has_lost_what_the_newest_could_have_kept() -> None:
    twice = Lineage([Fork(FORK_A), Fork(FORK_B, 1000), Fork(FORK_C, 1100)])
    assert twice.standing(FORK_A, 1050) is Standing.LOST
    assert twice.standing(FORK_B, 1050) is Standing.HERE


@pytest.mark.parametrize("forks", [[], [Fork(FORK_A), Fork(FORK_B), Fork(FORK_A)]])
def test_a_history_without_forks_or_with_one_twice_is_none(forks: list[Fork]) -> None:
    with pytest.raises(ValueError, match="at least one fork"):
        Lineage(forks)


@pytest.mark.parametrize("fork", ["", "A", FORK_A.upper(), FORK_A.replace("-", ""), FORK_A + "\n"])
def test_only_a_random_id_names_a_fork(fork: str) -> None:
    with pytest.raises(ValueError, match="not the id of a fork"):
        Fork(fork)
