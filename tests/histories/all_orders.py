"""Whether a history keeps its promises, found by trying all orders: slow, for small histories, and plain to see right.

A history is right if its operations on each row can be put in one order in which every write raises the version by one
and every read returns the version at its place. Of that order the levels demand no more than which operations come
before a read. Writes of unknown outcome may stand anywhere after what had ended before they began, or nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.histories.operations import NO_ROW, History, Level, Operation


def keeps_its_promises(history: History) -> bool:
    return all(_has_an_order(history, operations) for operations in history.by_key().values())


def _has_an_order(history: History, operations: Sequence[Operation]) -> bool:
    placed = [each for each in operations if each.is_ok or each.is_open_write]
    must_be_placed = frozenset(each.number for each in placed if each.is_ok)
    before = {
        each.number: frozenset(other.number for other in placed if _comes_before(history, other, each))
        for each in placed
    }
    tried: set[tuple[frozenset[int], int]] = set()

    def can_go_on(done: frozenset[int], version: int) -> bool:
        if must_be_placed <= done:
            return True
        if (done, version) in tried:
            return False
        tried.add((done, version))
        return any(
            can_go_on(done | {each.number}, after)
            for each in placed
            if each.number not in done and before[each.number] <= done
            for after in _versions_after(history, each, version)
        )

    return can_go_on(frozenset(), NO_ROW)


def _comes_before(history: History, one: Operation, other: Operation) -> bool:
    if not one.ended_before(other):
        return False
    if other.is_write or history.is_at_rest(other):
        return True
    match other.level:
        case Level.STRONG:
            return True
        case Level.READ_YOUR_WRITES:
            return one.is_write and one.session == other.session
        case Level.MONOTONIC:
            return not one.is_write and one.session == other.session
        case _:
            return False


def _versions_after(history: History, operation: Operation, version: int) -> Sequence[int]:
    """The row's version once the operation has happened at `version`; empty where it cannot happen there."""
    if operation.is_open_write:
        return [version + 1]
    returned = operation.returned_version
    if history.others_write:
        can_happen = returned > version if operation.is_write else returned >= version
    else:
        can_happen = returned == (version + 1 if operation.is_write else version)
    return [returned] if can_happen else []
