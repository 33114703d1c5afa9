"""Scans a history for answers that break a promise, by the versions of rows: no search, a few seconds for any run.

| a read at | must not return a version older than |
| --- | --- |
| strong | any that a completed operation, of whatever session and level, had written or returned before |
| read-your-writes | any that its session had written before |
| monotonic | any that its session had read before |
| eventual | none, until the history is at rest: then as strong, on every server |

"Before" is: had returned when the read was invoked. Whatever the level, a version that was read or written needs a
write that had been invoked by then, and a write makes a version that nobody got before. An unknown outcome
stays open: such a write explains one version at any time after its invocation, and obliges nobody to see it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from tests.histories.operations import NO_ROW, History, Kind, Level, Operation, Outcome, grouped
from tests.histories.writers import nearest_write, writers_of


class Fault(StrEnum):
    STALE_STRONG_READ = "stale strong read"
    OWN_WRITE_MISSED = "own write missed"
    WENT_BACK = "went back"
    NOT_CONVERGED = "not converged"
    LOST_WRITE = "acknowledged write lost"
    VERSION_TWICE = "version given twice"
    FROM_NOWHERE = "version from nowhere"


@dataclass(frozen=True)
class Violation:
    """`operation` got what it must not get, because of `other`: None only where nothing else was ever
    asked of the row."""

    fault: Fault
    operation: Operation
    other: Operation | None
    why: str

    def __str__(self) -> str:
        return f"{self.fault}: {self.why}\n  {self.operation}\n  {self.other or 'nobody ever wrote it'}"


def scan(history: History) -> list[Violation]:
    """Every violation, in the order in which the operations were invoked; one for each operation and fault, named with
    the strictest witness."""
    found: list[Violation] = []
    for operations in history.by_key().values():
        row = _Row(history, operations)
        found += [*row.reads(), *row.writes()]
        if not history.others_write:
            found += row.versions_without_write()
    return sorted(found, key=lambda each: each.operation.number)


class _Row:
    """The operations on one row, which alone bear on each other."""

    def __init__(self, history: History, operations: Sequence[Operation]) -> None:
        self._history = history
        self._operations = operations
        self._ok = [each for each in operations if each.is_ok]
        self._all = _Newest(self._ok)
        self._writes = _Newest(each for each in self._ok if each.is_write)
        self._written_in = _newest_by_session(self._ok, Kind.WRITE)
        self._read_in = _newest_by_session(self._ok, Kind.READ)
        self._newest_at_rest = max(
            (each.returned_version for each in self._ok if history.is_at_rest(each)),
            default=None,
        )

    def reads(self) -> Iterator[Violation]:
        for read in self._ok:
            if read.is_write:
                continue
            other = self._must_include(read).before(read.invoked)
            if other is not None and other.returned_version > read.returned_version:
                yield self._stale(read, other)

    def _must_include(self, read: Operation) -> _Newest:
        if self._history.is_at_rest(read):
            return self._all
        match read.level:
            case Level.STRONG:
                return self._all
            case Level.READ_YOUR_WRITES:
                return self._written_in.get(read.session, _NOTHING)
            case Level.MONOTONIC:
                return self._read_in.get(read.session, _NOTHING)
            case _:
                return _NOTHING

    def _stale(self, read: Operation, other: Operation) -> Violation:
        returned = f"it returned version {read.version}, older than version {other.version}, which"
        at_rest = self._history.is_at_rest(read)
        if at_rest and other.is_write and (self._newest_at_rest or NO_ROW) < other.returned_version:
            return Violation(
                Fault.LOST_WRITE, read, other, f"{returned} was acknowledged, and no server has it at rest any more"
            )
        if read.level is Level.STRONG:
            done = "written" if other.is_write else "returned"
            return Violation(Fault.STALE_STRONG_READ, read, other, f"{returned} had been {done} before it was invoked")
        if at_rest:
            return Violation(Fault.NOT_CONVERGED, read, other, f"{returned} was there before; the history is at rest")
        if read.level is Level.READ_YOUR_WRITES:
            return Violation(Fault.OWN_WRITE_MISSED, read, other, f"{returned} its own session had written before")
        return Violation(Fault.WENT_BACK, read, other, f"{returned} its own session had read before")

    def writes(self) -> Iterator[Violation]:
        """Each made a version that is newer than all that was known when it was invoked, and that no other made."""
        made: dict[int, Operation] = {}
        for write in self._ok:
            if not write.is_write:
                continue
            twin = made.setdefault(write.returned_version, write)
            for other in (self._writes.before(write.invoked), twin, self._all.before(write.invoked)):
                if other is not None and other is not write and other.returned_version >= write.returned_version:
                    yield self._made_again(write, other)
                    break

    def _made_again(self, write: Operation, other: Operation) -> Violation:
        returned = f"it made version {write.version}, though version {other.version} had been"
        if other.is_write:
            return Violation(Fault.LOST_WRITE, write, other, f"{returned} acknowledged as another write's")
        return Violation(Fault.VERSION_TWICE, write, other, f"{returned} returned before it was invoked")

    def versions_without_write(self) -> Iterator[Violation]:
        """Versions that no write can have made which had been invoked when somebody got them, or of a newer
        one: an acknowledged write made another, a failed one none, and an unknown one can have made only one."""
        blamed = set()
        for gap in writers_of(self._operations).gaps:
            witness = gap.witness
            if gap.writer is not None or witness.number in blamed:
                continue
            blamed.add(witness.number)
            because = f"version {gap.version} cannot have been written by then"
            why = f"it got version {witness.version}, but {because}"
            yield Violation(Fault.FROM_NOWHERE, witness, nearest_write(self._operations, witness), why)


class _Newest:
    """Of some operations, which had the newest version among those that had returned before a moment."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        ended = sorted(operations, key=lambda each: each.told_at)
        self._returned = [each.told_at for each in ended]
        self._newest = list(accumulate(ended, _newer))

    def before(self, moment: int) -> Operation | None:
        count = bisect_left(self._returned, moment)
        return self._newest[count - 1] if count else None


def _newer(one: Operation, other: Operation) -> Operation:
    """Of the same version the write: it says more to a reader of the violation."""
    return max(one, other, key=lambda each: (each.returned_version, each.is_write))


_NOTHING = _Newest([])


def _newest_by_session(operations: Iterable[Operation], kind: Kind) -> Mapping[str, _Newest]:
    of_kind = (each for each in operations if each.kind is kind and each.outcome is Outcome.OK)
    return {session: _Newest(theirs) for session, theirs in grouped(of_kind, "session").items()}
