"""Replicas are taken out after a few bad looks and let back in after a few good ones, and do not flutter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.replica_fitness import FitReplicas
from tests.support.points import UNHURRIED

LOOKS = st.lists(st.booleans(), max_size=60)
BOUND = st.integers(1, 5)


def course(looks: list[bool], bad: int = 3, good: int = 2) -> list[bool]:
    replicas = FitReplicas(bad, good)
    return [replicas.looked("a", look) for look in looks]


def test_the_first_look_decides_alone() -> None:
    assert course([True]) == [True]
    assert course([False]) == [False]
    assert not FitReplicas().is_in("a")


def test_it_goes_out_after_bad_looks_in_a_row_and_comes_back_after_good_ones() -> None:
    assert course([True, False, False, False, True, True]) == [True, True, True, False, False, True]


def test_a_look_between_begins_the_count_again() -> None:
    assert course([True, False, False, True, False, False]) == [True] * 6
    assert course([False, True, False, True, False]) == [False] * 5


@UNHURRIED
@given(LOOKS, BOUND, BOUND)
def test_it_turns_only_after_so_many_looks_in_a_row_that_said_so(looks: list[bool], bad: int, good: int) -> None:
    states = course(looks, bad, good)
    for at in range(1, len(states)):
        in_favour, against = (good, bad) if states[at] else (bad, good)
        if states[at] != states[at - 1]:
            assert looks[at - in_favour + 1 : at + 1] == [states[at]] * in_favour
        if at >= against:
            assert looks[at - against + 1 : at + 1] != [not states[at]] * against


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_replicas_do_not_share_their_looks(looks: list[tuple[str, bool]]) -> None:
    replicas = FitReplicas()
    for name, is_well in looks:
        assert replicas.looked(name, is_well) == replicas.is_in(name)
    for name in "abc":
        states = course([is_well for of, is_well in looks if of == name])
        assert replicas.is_in(name) == bool(states and states[-1])


def test_one_that_was_cloned_anew_begins_with_its_first_look() -> None:
    replicas = FitReplicas()
    replicas.looked("a", False)
    replicas.looked("b", False)
    replicas.keep_only({"b"})
    assert replicas.looked("a", True)
    assert not replicas.looked("b", True)


@pytest.mark.parametrize(("bad", "good"), [(0, 1), (1, 0)])
def test_no_look_at_all_decides_nothing(bad: int, good: int) -> None:
    with pytest.raises(ValueError, match="at least one look"):
        FitReplicas(bad, good)
