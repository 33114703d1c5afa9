"""Which server is good enough for a point, and what one that is not says is missing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.consistency import NO_POINTS, Point
from domain.histories import Fork, Lineage
from domain.serving import (
    Lack,
    PrimaryFacts,
    ReadModelFacts,
    ReplicaFacts,
    Verdict,
    of_primary,
    of_read_model,
    of_replica,
)
from tests.support.points import FORK_A, FORK_B, FORK_C, UNHURRIED, points

LINEAGE = Lineage([Fork(FORK_A)])
PROMOTED = Lineage([Fork(FORK_A), Fork(FORK_B, began=1000)])
SMALL = st.lists(points(forks=st.just(FORK_A), upto=9), max_size=3)
FEW = st.integers(0, 9)


def lacks(verdict: Verdict) -> list[Lack]:
    return [each.lack for each in verdict.missing]


@UNHURRIED
@given(SMALL, FEW)
def test_a_replica_has_replayed_up_to_every_point(held: list[Point], replayed: int) -> None:
    verdict = of_replica(held, ReplicaFacts(LINEAGE, replayed))
    good = all(replayed >= point.lsn and not point.is_unknown for point in held)
    assert verdict.is_good == good
    assert bool(verdict.why) != good


@UNHURRIED
@given(SMALL, st.sets(FEW), FEW)
def test_a_primary_shows_how_everything_below_xmax_ended(held: list[Point], running: set[int], xmax: int) -> None:
    """Only what is below the snapshot's own xmax is in its list of running ones, as Postgres does it."""
    running = {xid for xid in running if xid < xmax}
    verdict = of_primary(held, PrimaryFacts(LINEAGE, running, xmax))
    seen_on_replica = max((point.xmax for point in held), default=0)
    shown_as_ended = {xid for xid in range(10) if xid < xmax and xid not in running}
    assert verdict.is_good == (set(range(seen_on_replica)) <= shown_as_ended)


@UNHURRIED
@given(SMALL, FEW)
def test_the_read_model_has_taken_the_event_and_is_not_behind_a_list(held: list[Point], cursor: int) -> None:
    verdict = of_read_model(held, ReadModelFacts(LINEAGE, cursor))
    assert verdict.is_good == all(
        (cursor > point.event or not point.event) and cursor >= point.taken and not point.is_unknown for point in held
    )


def test_the_newest_transaction_is_no_less_running_for_not_being_in_the_list() -> None:
    """A primary in the middle of committing 752: its snapshot is 752:752: with nothing in it, a replica shows 752."""
    point = Point(FORK_A, 100, xmax=753)
    verdict = of_primary([point], PrimaryFacts(LINEAGE, (), 752))
    assert verdict.why == "does not show yet how transaction 752 ended"
    assert of_primary([point], PrimaryFacts(LINEAGE, (), 753)).is_good


def test_a_transaction_that_was_begun_after_the_read_on_the_replica_holds_nothing_up() -> None:
    assert of_primary([Point(FORK_A, 100, xmax=753)], PrimaryFacts(LINEAGE, (753, 760), 770)).is_good


def test_for_what_was_stamped_at_the_primary_its_open_transactions_do_not_matter() -> None:
    assert of_primary([Point(FORK_A, 10**9, event=900)], PrimaryFacts(LINEAGE, (3, 4), 900)).is_good


@pytest.mark.parametrize(
    ("verdict", "lack", "why"),
    [
        (
            of_replica([Point(FORK_A, 0x200)], ReplicaFacts(LINEAGE, 0x1FF)),
            Lack.REPLAY,
            "has replayed up to 0/1FF of 0/200",
        ),
        (
            of_primary([Point(FORK_A, xmax=10)], PrimaryFacts(LINEAGE, (9, 7, 12), 15)),
            Lack.RUNNING,
            "does not show yet how transaction 7 and 1 more ended",
        ),
        (
            of_read_model([Point(FORK_A, event=10)], ReadModelFacts(LINEAGE, 10)),
            Lack.EVENT,
            "has taken the events below 10, and not that of 10",
        ),
        (
            of_read_model([Point(FORK_A, taken=11)], ReadModelFacts(LINEAGE, 10)),
            Lack.CURSOR,
            "has taken the events below 10 of 11",
        ),
    ],
)
def test_a_verdict_names_what_is_missing_and_that_it_may_come(verdict: Verdict, lack: Lack, why: str) -> None:
    assert lacks(verdict) == [lack]
    assert (verdict.is_good, verdict.is_lost, verdict.may_come, verdict.why) == (False, False, True, why)


def test_several_things_can_be_missing() -> None:
    verdict = of_replica([Point(FORK_A, 5), Point("", unstamped=1)], ReplicaFacts(LINEAGE, 4))
    assert lacks(verdict) == [Lack.REPLAY, Lack.PRIMARY]
    assert verdict.why == ("has replayed up to 0/4 of 0/5 and may lack what was returned while the primary was away")


@pytest.mark.parametrize("fork", ["", FORK_A])
def test_only_the_primary_is_good_enough_for_what_nobody_stamped(fork: str) -> None:
    returned = NO_POINTS.returned_unstamped("shard-1", 17, fork).of("shard-1")
    assert of_primary(returned, PrimaryFacts(LINEAGE, (3,), 9)).is_good
    for verdict in (
        of_replica(returned, ReplicaFacts(LINEAGE, 10**9)),
        of_read_model(returned, ReadModelFacts(LINEAGE, 10**9)),
    ):
        assert lacks(verdict) == [Lack.PRIMARY]
        assert not verdict.may_come


def test_what_was_lost_is_lost_on_every_server_however_far_its_numbers_are() -> None:
    held = [Point(FORK_A, 1001)]
    for verdict in (
        of_replica(held, ReplicaFacts(PROMOTED, 10**9)),
        of_primary(held, PrimaryFacts(PROMOTED, (), 10**9)),
        of_read_model(held, ReadModelFacts(PROMOTED, 10**9)),
    ):
        assert lacks(verdict) == [Lack.LOST]
        assert (verdict.is_lost, verdict.may_come) == (True, False)


def test_what_carries_over_is_compared_by_its_numbers() -> None:
    held = [Point(FORK_A, 1000, xmax=5, event=4)]
    assert of_replica(held, ReplicaFacts(PROMOTED, 1000)).is_good
    assert of_primary(held, PrimaryFacts(PROMOTED, (), 5)).is_good
    assert of_read_model(held, ReadModelFacts(PROMOTED, 5)).is_good
    assert lacks(of_replica(held, ReplicaFacts(PROMOTED, 999))) == [Lack.REPLAY]


def test_a_fork_that_a_server_does_not_know_may_still_reach_a_replica_but_never_a_primary() -> None:
    held = [Point(FORK_C, 1)]
    for verdict in (of_replica(held, ReplicaFacts(PROMOTED, 9)), of_read_model(held, ReadModelFacts(PROMOTED, 9))):
        assert lacks(verdict) == [Lack.HISTORY]
        assert (verdict.is_lost, verdict.may_come) == (False, True)
    assert of_primary(held, PrimaryFacts(PROMOTED, (), 9)).is_lost


def test_without_points_every_server_will_do() -> None:
    assert of_replica((), ReplicaFacts(LINEAGE, 0)) == of_primary((), PrimaryFacts(LINEAGE, (3,), 4)) == Verdict()
    assert of_read_model((), ReadModelFacts(LINEAGE, 0)).is_good
