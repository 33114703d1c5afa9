"""The scans name planted faults, leave right histories alone, and agree with trying all orders."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from tests.histories.all_orders import keeps_its_promises
from tests.histories.made_up import HISTORIES, REPLICA, SHARD, Story
from tests.histories.operations import NO_ROW, History, Level, Operation, Outcome
from tests.histories.scans import Fault, scan

EXAMPLES = 1_000
STRONG, OWN, MONOTONIC, EVENTUAL = Level.STRONG, Level.READ_YOUR_WRITES, Level.MONOTONIC, Level.EVENTUAL
UNKNOWN, FAIL = Outcome.UNKNOWN, Outcome.FAIL


@pytest.fixture
def story() -> Story:
    return Story()


def assert_right(story: Story) -> None:
    assert scan(story.history()) == []
    assert keeps_its_promises(story.history())


def assert_named(story: Story, fault: Fault, operation: Operation, other: Operation | None) -> None:
    (violation,) = scan(story.history())
    assert (violation.fault, violation.operation, violation.other) == (fault, operation, other)
    assert str(operation) in str(violation)
    assert str(fault) in str(violation)
    assert not keeps_its_promises(story.history())


def test_a_replica_that_lacks_the_sessions_own_write(story: Story) -> None:
    write = story.write(1)
    read = story.read(NO_ROW, OWN, server=REPLICA)
    assert_named(story, Fault.OWN_WRITE_MISSED, read, write)
    assert "version 0, older than version 1, which its own session had written" in str(scan(story.history())[0])


def test_a_replica_may_lack_what_another_session_wrote(story: Story) -> None:
    story.write(1, session="b")
    story.read(NO_ROW, OWN, server=REPLICA)
    assert_right(story)


def test_two_servers_of_which_the_second_is_behind(story: Story) -> None:
    story.write(1, session="b")
    newer = story.read(1, MONOTONIC, server="shard-1/replica-2")
    older = story.read(NO_ROW, MONOTONIC, server=REPLICA)
    assert_named(story, Fault.WENT_BACK, older, newer)


def test_a_primary_that_is_behind_its_replica(story: Story) -> None:
    """A commit is in the WAL, and so on a replica, before the primary shows it."""
    story.write(1, session="b", during=(0, 100))
    newer = story.read(1, MONOTONIC, server=REPLICA, during=(10, 19))
    older = story.read(NO_ROW, MONOTONIC, server=SHARD, during=(20, 29))
    assert_named(story, Fault.WENT_BACK, older, newer)


def test_each_session_and_each_row_has_a_past_of_its_own(story: Story) -> None:
    story.write(1, session="c")
    story.write(1, session="c", key="y")
    story.read(1, MONOTONIC, session="a")
    story.read(NO_ROW, MONOTONIC, session="b")
    story.read(NO_ROW, MONOTONIC, session="a", key="y")
    assert_right(story)


def test_a_strong_read_that_is_older_than_a_write_that_had_completed(story: Story) -> None:
    write = story.write(1, session="b")
    read = story.read(NO_ROW, STRONG, server=REPLICA)
    assert_named(story, Fault.STALE_STRONG_READ, read, write)


def test_a_strong_read_that_is_older_than_what_a_weak_one_had_returned(story: Story) -> None:
    story.write(1, session="b", during=(0, 100))
    weak = story.read(1, EVENTUAL, server=REPLICA, during=(10, 19))
    strong = story.read(NO_ROW, STRONG, during=(20, 29))
    assert_named(story, Fault.STALE_STRONG_READ, strong, weak)


def test_a_strong_read_beside_a_write_may_see_it_or_not(story: Story) -> None:
    story.write(1, session="b", during=(0, 100))
    story.read(NO_ROW, STRONG, during=(10, 19))
    story.read(1, STRONG, during=(20, 29))
    story.read(1, STRONG, during=(30, 130))
    assert_right(story)


@pytest.mark.parametrize("level", [STRONG, EVENTUAL])
def test_an_acknowledged_write_that_no_server_has_at_rest(story: Story, level: Level) -> None:
    story.write(1)
    lost = story.write(2)
    story.rest()
    read = story.read(1, level)
    assert_named(story, Fault.LOST_WRITE, read, lost)


def test_an_acknowledged_write_whose_version_is_given_again(story: Story) -> None:
    """As after a promotion that lost it: the new primary counts on from where it was."""
    lost = story.write(1, session="b")
    again = story.write(1, session="c")
    assert_named(story, Fault.LOST_WRITE, again, lost)


def test_two_writes_at_once_that_were_told_one_version(story: Story) -> None:
    first = story.write(1, session="b", during=(0, 20))
    second = story.write(1, session="c", during=(10, 30))
    assert_named(story, Fault.LOST_WRITE, second, first)


def test_a_version_that_had_been_read_before_its_write_was_asked_for(story: Story) -> None:
    story.write(outcome=UNKNOWN)
    read = story.read(1, EVENTUAL)
    write = story.write(1, session="b")
    assert_named(story, Fault.VERSION_TWICE, write, read)


def test_a_server_that_does_not_catch_up(story: Story) -> None:
    write = story.write(1)
    story.rest()
    story.read(1, EVENTUAL, server=SHARD)
    behind = story.read(NO_ROW, EVENTUAL, server=REPLICA)
    other = scan(story.history())[0].other
    assert_named(story, Fault.NOT_CONVERGED, behind, write)
    assert other == write


def test_servers_may_differ_until_the_history_is_at_rest(story: Story) -> None:
    story.write(1)
    story.read(1, EVENTUAL, server=SHARD)
    story.read(NO_ROW, EVENTUAL, server=REPLICA)
    story.rest()
    story.read(1, EVENTUAL, server=REPLICA)
    assert_right(story)


@pytest.mark.parametrize("level", list(Level))
def test_a_version_that_nobody_wrote(story: Story, level: Level) -> None:
    write = story.write(1)
    read = story.read(2, level)
    assert_named(story, Fault.FROM_NOWHERE, read, write)


def test_a_failed_write_that_is_read_all_the_same(story: Story) -> None:
    failed = story.write(outcome=FAIL)
    story.write(1)
    read = story.read(2, EVENTUAL)
    assert_named(story, Fault.FROM_NOWHERE, read, failed)


def test_a_read_of_a_write_that_was_not_asked_for_yet(story: Story) -> None:
    read = story.read(1, EVENTUAL)
    later = story.write(outcome=UNKNOWN)
    assert_named(story, Fault.FROM_NOWHERE, read, later)


def test_a_row_that_nobody_was_ever_asked_to_write(story: Story) -> None:
    read = story.read(1, EVENTUAL)
    assert_named(story, Fault.FROM_NOWHERE, read, None)


def test_an_unknown_write_may_happen_late_or_never_but_not_twice(story: Story) -> None:
    unknown = story.write(outcome=UNKNOWN)
    story.read(NO_ROW, OWN)
    story.read(NO_ROW, STRONG)
    assert_right(story)
    story.read(1, STRONG)
    story.write(2, session="b")
    story.read(2, STRONG)
    assert_right(story)
    twice = story.read(3, EVENTUAL)
    violation = scan(story.history())[0]
    assert (violation.fault, violation.operation) == (Fault.FROM_NOWHERE, twice)
    assert violation.other is not unknown
    assert not keeps_its_promises(story.history())


def test_an_unknown_write_that_was_read_cannot_be_taken_back(story: Story) -> None:
    story.write(outcome=UNKNOWN)
    seen = story.read(1, STRONG, session="b")
    gone = story.read(NO_ROW, STRONG)
    assert_named(story, Fault.STALE_STRONG_READ, gone, seen)


def test_rows_that_others_write_too_may_have_any_newer_version(story: Story) -> None:
    story.write(3)
    story.read(5, STRONG)
    stale = story.read(4, STRONG)
    history = replace(story.history(), others_write=True)
    (violation,) = scan(history)
    assert (violation.fault, violation.operation) == (Fault.STALE_STRONG_READ, stale)
    right = replace(history, operations=history.operations[:-1])
    assert scan(right) == []
    assert keeps_its_promises(right)
    assert not keeps_its_promises(history)


def test_what_weaker_levels_returned_can_be_judged_as_if_more_had_been_promised(story: Story) -> None:
    write = story.write(1)
    read = story.read(NO_ROW, EVENTUAL, server=REPLICA)
    assert scan(story.history()) == []
    (violation,) = scan(story.history().at_level(OWN))
    assert (violation.fault, violation.operation.number) == (Fault.OWN_WRITE_MISSED, read.number)
    assert violation.other == write


def without_unknown_writes(history: History) -> History:
    known = [each for each in history.operations if not each.is_open_write]
    return replace(history, operations=known)


def test_the_scans_agree_with_trying_all_orders() -> None:
    verdicts: Counter[tuple[str, bool]] = Counter()
    faults: Counter[Fault] = Counter()

    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(drawn=HISTORIES)
    def agree(drawn: History) -> None:
        cases = {"mixed": drawn, "others write": replace(drawn, others_write=True)}
        cases |= {f"all {level}": replace(drawn.at_level(level), at_rest_from=None) for level in Level}
        right = {}
        for name, history in cases.items():
            violations = scan(history)
            right[name] = keeps_its_promises(history)
            assert (violations == []) == right[name], (name, violations, history.text())
            verdicts[name, right[name]] += 1
            faults.update(each.fault for each in violations)
        if right["all eventual"]:
            for level in STRONG, OWN, MONOTONIC:
                verdicts[f"{level}, where eventual holds", right[f"all {level}"]] += 1
        if right["mixed"]:
            verdicts["unknown writes taken as failed", keeps_its_promises(without_unknown_writes(drawn))] += 1

    agree()
    for name in {name for name, _ in verdicts}:
        often = min(verdicts[name, True], verdicts[name, False])
        assert often >= EXAMPLES // 40, f"{name}: one of the verdicts came only {often} times"
    assert set(faults) == set(Fault)
