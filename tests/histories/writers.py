"""Which write made which version of a row, where clients did not get all: shared by the scans and the exports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.histories.operations import NO_ROW, Operation, Outcome


@dataclass(frozen=True)
class Gap:
    """A version that no acknowledged write made. `witness` was the first that got it, or of a newer one; `writer`
    is the unknown write that can have made it, None where none can."""

    version: int
    witness: Operation
    writer: Operation | None


@dataclass(frozen=True)
class Writers:
    """`made`: the version of each write by its number, where it is known or follows from the gaps."""

    made: Mapping[int, int]
    gaps: Sequence[Gap]


def writers_of(operations: Sequence[Operation]) -> Writers:
    """Gives each gap an unknown write of its own, the oldest to the oldest, wherever any way of giving them out does.

    An unknown write can have made a version if it was invoked by the time the first operation that knew of this
    version, or a newer one, returned. Those times grow with the versions, so giving out in order fails only where all
    ways do.
    """
    known = {each.number: each.returned_version for each in operations if each.is_ok and each.is_write}
    witnesses = _first_witnesses(operations)
    missing = sorted(set(witnesses) - set(known.values()))
    unknown = sorted((each for each in operations if each.is_open_write), key=lambda each: each.invoked)
    made = dict(known)
    gaps: list[Gap] = []
    given = 0
    for version in missing:
        witness = witnesses[version]
        writer = unknown[given] if given < len(unknown) else None
        if writer is not None and writer.invoked <= witness.told_at:
            made[writer.number] = version
            given += 1
        else:
            writer = None
        gaps.append(Gap(version, witness, writer))
    return Writers(made, gaps)


def nearest_write(operations: Sequence[Operation], witness: Operation) -> Operation | None:
    """Where a person looks first if `witness` got a version from nowhere: the last write that was invoked
    before it returned, one that failed rather than others; else the first that came later; else any other operation."""
    others = [each for each in operations if each is not witness]
    writes = [each for each in others if each.is_write]
    earlier = [each for each in writes if each.invoked <= witness.told_at]
    if earlier:
        return max(earlier, key=lambda each: (each.outcome is Outcome.FAIL, each.invoked))
    return min(writes or others, key=lambda each: each.invoked, default=None)


def _first_witnesses(operations: Sequence[Operation]) -> Mapping[int, Operation]:
    """For each version that there must have been, the first operation to return with it or a newer one."""
    returned = sorted((each for each in operations if each.is_ok), key=lambda each: each.returned_version, reverse=True)
    witnesses: dict[int, Operation] = {}
    first: Operation | None = None
    for at, operation in enumerate(returned):
        if first is None or operation.told_at < first.told_at:
            first = operation
        below = returned[at + 1].returned_version if at + 1 < len(returned) else NO_ROW
        witnesses.update(dict.fromkeys(range(operation.returned_version, below, -1), first))
    return witnesses
