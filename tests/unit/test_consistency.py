"""Points and sessions: merged by maximum within a fork, carried over into the next one or lost, and what levels ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.choices import choice
from domain.consistency import NO_POINTS, NUMBER_MAX, Level, Point, Points, Session, demanded, points_of
from domain.errors import InvalidInput, SessionLost
from domain.histories import Fork, Lineage
from domain.serving import PrimaryFacts, of_primary
from tests.support.points import FORK_A, FORK_B, FORK_C, UNHURRIED, points, points_by_shard, sessions

PROMOTED = Lineage([Fork(FORK_A), Fork(FORK_B, began=1000)])
ONE_FORK = points(forks=st.just(FORK_A))


def of(shard: str, *given: Point) -> Points:
    return points_of((shard, point) for point in given)


@UNHURRIED
@given(ONE_FORK, ONE_FORK, ONE_FORK)
def test_points_of_one_fork_merge_by_maximum(one: Point, two: Point, three: Point) -> None:
    assert one.merged(two) == two.merged(one)
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(one) == one
    for part in (one, two):
        assert all(a >= b for a, b in zip(one.merged(two).numbers, part.numbers, strict=True))
    assert one.merged(two).numbers == tuple(map(max, one.numbers, two.numbers))


def test_points_of_different_forks_do_not_compare() -> None:
    with pytest.raises(ValueError, match="do not compare"):
        Point(FORK_A, 5).merged(Point(FORK_B, 5))


@UNHURRIED
@given(points_by_shard(9), points_by_shard(9), points_by_shard(9))
def test_points_of_many_shards_merge_in_any_order_and_as_often_as_you_like(
    one: Points, two: Points, three: Points
) -> None:
    assert one.merged(two) == two.merged(one)
    assert one.merged(two).merged(three) == one.merged(two.merged(three))
    assert one.merged(one) == one.merged(NO_POINTS) == NO_POINTS.merged(one) == one


@UNHURRIED
@given(points_by_shard(9), points_by_shard(9))
def test_nothing_that_was_held_is_lowered_or_dropped(one: Points, two: Points) -> None:
    merged = {(shard, point.fork): point for shard, point in one.merged(two)}
    for shard, point in [*one, *two]:
        assert all(a >= b for a, b in zip(merged[shard, point.fork].numbers, point.numbers, strict=True))
    assert set(merged) == {(shard, point.fork) for shard, point in [*one, *two]}


@UNHURRIED
@given(sessions(), sessions())
def test_sessions_merge_half_by_half(one: Session, two: Session) -> None:
    assert one.merged(two) == two.merged(one) == one.merged(two).merged(two)
    assert one.merged(two).wrote == one.wrote.merged(two.wrote)
    assert one.merged(two).seen == one.seen.merged(two.seen)


def test_a_point_that_demands_nothing_is_not_kept() -> None:
    assert of("shard-1", Point(FORK_A)) == NO_POINTS
    assert not NO_POINTS


@pytest.mark.parametrize("numbers", [(-1,), (NUMBER_MAX + 1,), (0, 0, 0, 0, 1, 2)])
def test_what_is_no_point_is_not_made(numbers: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="not a point"):
        Point(FORK_A, *numbers)


def test_a_point_needs_the_id_of_a_fork() -> None:
    with pytest.raises(ValueError, match="not the id of a fork"):
        Point("A", 5)


# ── outcomes without a stamp ────────────────────────────────────────────────────────────────────────────────


def test_what_was_told_without_a_stamp_is_unknown_until_the_primary_was_asked() -> None:
    returned = of("shard-1", Point(FORK_A, lsn=5)).returned_unstamped("shard-1", 17, FORK_A)
    assert [point.is_unknown for point in returned.of("shard-1")] == [True]
    asked = returned.asked("shard-1", Lineage([Fork(FORK_A)])).with_point("shard-1", Point(FORK_A, lsn=9))
    assert asked.of("shard-1") == (Point(FORK_A, lsn=9, unstamped=17, covered=17),)
    assert not asked.of("shard-1")[0].is_unknown
    assert asked.merged(returned) == asked


def test_an_outcome_told_after_the_primary_was_asked_stays_unknown() -> None:
    first = NO_POINTS.returned_unstamped("shard-1", 17, FORK_A)
    asked = first.asked("shard-1", Lineage([Fork(FORK_A)]))
    second = first.returned_unstamped("shard-1", 17, FORK_A)
    assert asked.merged(second).of("shard-1")[0].is_unknown


def test_what_was_told_in_an_unknown_fork_counts_in_the_one_that_is_found() -> None:
    lineage = Lineage([Fork(FORK_A)])
    held = of("shard-1", Point(FORK_A, 5, unstamped=20, covered=20)).returned_unstamped("shard-1", 3)
    carried = held.carried("shard-1", lineage).of("shard-1")
    assert [(point.fork, point.lsn, point.is_unknown) for point in carried] == [(FORK_A, 5, True)]
    assert not any(point.is_unknown for point in held.asked("shard-1", lineage).of("shard-1"))


def test_nobody_knows_where_an_unknown_outcome_lies_so_a_new_fork_has_lost_it() -> None:
    returned = NO_POINTS.returned_unstamped("shard-1", 17, FORK_A)
    with pytest.raises(SessionLost, match="whether it still has it cannot be known"):
        returned.carried("shard-1", PROMOTED)
    with pytest.raises(SessionLost):
        returned.asked("shard-1", PROMOTED)
    covered = returned.asked("shard-1", Lineage([Fork(FORK_A)]))
    assert covered.carried("shard-1", PROMOTED).of("shard-1") == (Point(FORK_B, unstamped=17, covered=17),)


# ── forks ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_at_or_below_the_beginning_a_session_carries_over() -> None:
    session = Session(of("shard-1", Point(FORK_A, 1000, event=49)), of("shard-1", Point(FORK_A, 7, 49, taken=50)))
    carried = session.carried("shard-1", PROMOTED)
    assert carried.wrote == of("shard-1", Point(FORK_B, 1000, event=49))
    assert carried.seen == of("shard-1", Point(FORK_B, 7, 49, taken=50))


@pytest.mark.parametrize("point", [Point(FORK_A, 1001), Point(FORK_C, 1)])
@pytest.mark.parametrize("half", ["wrote", "seen"])
def test_above_it_the_session_is_lost(point: Point, half: str) -> None:
    session = Session(**{half: of("shard-1", Point(FORK_B, 5000), point)})
    with pytest.raises(SessionLost, match="shard-1 lacks what this session") as lost:
        session.carried("shard-1", PROMOTED)
    assert (lost.value.code, lost.value.exit_code, lost.value.shard, lost.value.field) == (
        "session_lost",
        1,
        "shard-1",
        "session",
    )


def test_of_both_forks_one_point_is_left_and_other_shards_stay_as_they_were() -> None:
    held = of("shard-1", Point(FORK_A, 900, xmax=40), Point(FORK_B, 1200)).merged(of("shard-2", Point(FORK_A, 10**9)))
    carried = held.carried("shard-1", PROMOTED)
    assert carried.of("shard-1") == (Point(FORK_B, 1200, xmax=40),)
    assert carried.of("shard-2") == held.of("shard-2")


@UNHURRIED
@given(points_by_shard(2000), st.sampled_from(["shard-1", "shard-2"]))
def test_carried_never_lowers_and_is_refused_exactly_where_the_primary_would_refuse(held: Points, shard: str) -> None:
    lost = of_primary(held.of(shard), PrimaryFacts(PROMOTED, (), NUMBER_MAX)).is_lost
    try:
        carried = held.carried(shard, PROMOTED)
    except SessionLost:
        assert lost
        return
    assert not lost
    assert carried.carried(shard, PROMOTED) == carried
    assert {point.fork for point in carried.of(shard)} <= {FORK_B}
    for point in held.of(shard):
        assert all(a >= b for a, b in zip(carried.of(shard)[0].numbers, point.numbers, strict=True))
    assert [each for each in carried if each[0] != shard] == [each for each in held if each[0] != shard]


# ── levels ──────────────────────────────────────────────────────────────────────────────────────────────────

WROTE = of("shard-1", Point(FORK_A, 10))
SEEN = of("shard-1", Point(FORK_A, 20, 5))
FRESH = of("shard-1", Point(FORK_A, 15, event=3))


@pytest.mark.parametrize(
    ("level", "asked"),
    [
        (Level.EVENTUAL, NO_POINTS),
        (Level.READ_YOUR_WRITES, WROTE),
        (Level.MONOTONIC, SEEN),
        (Level.STRONG, of("shard-1", Point(FORK_A, 20, 5, event=3))),
    ],
)
def test_a_level_says_which_point(level: Level, asked: Points) -> None:
    assert demanded(level, Session(WROTE, SEEN), FRESH) == asked


def test_strong_without_a_session_is_the_fresh_stamp_and_nothing_else() -> None:
    assert demanded(Level.STRONG, Session(), FRESH) == FRESH


@UNHURRIED
@given(sessions(), points_by_shard())
def test_strong_is_at_or_after_every_other_level(session: Session, fresh: Points) -> None:
    strong = demanded(Level.STRONG, session, fresh)
    for level in Level:
        weaker = demanded(level, session, fresh)
        assert strong.merged(weaker) == strong


def test_levels_are_named_as_they_are_typed() -> None:
    assert [choice(Level, name, "consistency") for name in Level] == list(Level)
    with pytest.raises(InvalidInput, match="strong, eventual, read-your-writes, monotonic"):
        choice(Level, "causal", "consistency")
