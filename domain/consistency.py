"""Consistency of reads: every read is at or after a point, and a level only says which point.

| level | the point |
| --- | --- |
| eventual | none |
| read-your-writes | what this session wrote |
| monotonic | what this session has seen |
| strong | a fresh one, stamped at the primaries now |

Code that returns an outcome to a caller, or reads for it, stamps the shards concerned; the session keeps the stamps.
Which server is good enough for a point is in `domain.serving`, a session as text in `domain.session_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from domain.errors import SessionLost
from domain.histories import FORK_ID, UNKNOWN_FORK, Lineage, Standing
from domain.wal_positions import LSN_MAX

NUMBER_MAX = 2**64 - 1


class Level(StrEnum):
    STRONG = "strong"
    EVENTUAL = "eventual"
    READ_YOUR_WRITES = "read-your-writes"
    MONOTONIC = "monotonic"


@dataclass(frozen=True, slots=True)
class Point:
    """A moment in one fork of one shard's history. 0 demands nothing.

    `lsn`: all that was returned lies below this position; normalised by `end_of_log`.
    `xmax`: the snapshot's `xmax` of a read on a replica, which can show a commit before its primary does. A read or
    stamp on the primary leaves it 0: foreign transactions that are open there would be waited for.
    `event`: the newest `outbox.xid` that was visible.
    `taken`: the read model's cursor at which a list was read.
    Those three are transaction ids, and each comes with an `lsn` below which their transactions ended.
    `unstamped`: the number of the last outcome that was returned while the primary could not be asked; `covered`: up to
    which number it was asked afterwards.
    """

    fork: str = UNKNOWN_FORK
    lsn: int = 0
    xmax: int = 0
    event: int = 0
    taken: int = 0
    unstamped: int = 0
    covered: int = 0

    def __post_init__(self) -> None:
        if self.fork != UNKNOWN_FORK and FORK_ID.fullmatch(self.fork) is None:
            raise ValueError(f"not the id of a fork: {self.fork!a}")
        if not all(0 <= number <= NUMBER_MAX for number in self.numbers) or self.covered > self.unstamped:
            raise ValueError(f"not a point: {self}")

    @property
    def numbers(self) -> tuple[int, int, int, int, int, int]:
        return self.lsn, self.xmax, self.event, self.taken, self.unstamped, self.covered

    @property
    def is_nothing(self) -> bool:
        return not any(self.numbers)

    @property
    def is_unknown(self) -> bool:
        """Something was returned of which nobody knows where it lies: only the primary has it for certain."""
        return self.unstamped > self.covered

    def merged(self, other: Point) -> Point:
        """The first moment that is at or after both, of one fork: never lower than either."""
        if self.fork != other.fork:
            raise ValueError("points of different forks do not compare")
        return Point(self.fork, *map(max, self.numbers, other.numbers))

    def standing(self, lineage: Lineage) -> Standing:
        """Whether what this point stands for is in that history. An unknown point lies above every beginning."""
        return lineage.standing(self.fork, LSN_MAX if self.is_unknown else self.lsn)


@dataclass(frozen=True, slots=True)
class Points:
    """Points of any number of shards: of each shard one for each fork, since without the shard's lineage points of
    different forks do not compare. More than one is rare, and ends with the next read (`carried`).
    """

    by_shard: Mapping[str, tuple[Point, ...]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[str, Point]]:
        return ((shard, point) for shard, points in self.by_shard.items() for point in points)

    def __bool__(self) -> bool:
        return bool(self.by_shard)

    def of(self, shard: str) -> tuple[Point, ...]:
        return self.by_shard.get(shard, ())

    def merged(self, other: Points) -> Points:
        """The maximum, by shard and fork: associative, commutative, idempotent, and never lower than either."""
        if not other:
            return self
        return points_of([*self, *other])

    def with_point(self, shard: str, point: Point) -> Points:
        return points_of([*self, (shard, point)])

    def returned_unstamped(self, shard: str, number: int, fork: str = UNKNOWN_FORK) -> Points:
        """After an outcome was returned while the shard's primary could not be asked where it lies.

        `number` distinguishes such outcomes, and grows from one to the next: milliseconds since 1970 do,
        also where copies of a session went different ways. `fork` is the one that the caller last saw; without it
        nobody will notice if that outcome is lost in a restore before the primary is asked again.
        """
        before = max((point.unstamped for point in self.of(shard)), default=0)
        return self.with_point(shard, Point(fork, unstamped=max(before + 1, number)))

    def carried(self, shard: str, lineage: Lineage) -> Points:
        """The same with all points of the shard in the current fork, or `SessionLost`.

        `lineage` is the primary's, which knows every fork that there is.
        """
        before = self.of(shard)
        lost = [point for point in before if point.standing(lineage) is not Standing.HERE]
        if lost:
            raise lost_session(shard, lost)
        return self._with_shard(shard, (replace(point, fork=lineage.current) for point in before))

    def asked(self, shard: str, lineage: Lineage) -> Points:
        """After the shard's primary was asked for a stamp or read, with these points in hand: what was unknown then is
        there, and the stamp covers it. To be merged with that stamp. `SessionLost` like `carried`.
        """
        points = self.carried(shard, lineage)
        return points._with_shard(shard, (replace(point, covered=point.unstamped) for point in points.of(shard)))

    def _with_shard(self, shard: str, points: Iterable[Point]) -> Points:
        others = (each for each in self if each[0] != shard)
        return points_of([*others, *((shard, point) for point in points)])


def points_of(points: Iterable[tuple[str, Point]]) -> Points:
    """Merged, in the one order that equal ones have."""
    merged: dict[tuple[str, str], Point] = {}
    for shard, point in points:
        key = shard, point.fork
        merged[key] = merged[key].merged(point) if key in merged else point
    by_shard: dict[str, tuple[Point, ...]] = {}
    for (shard, _), point in sorted(merged.items(), key=lambda item: item[0]):
        if not point.is_nothing:
            by_shard[shard] = (*by_shard.get(shard, ()), point)
    return Points(by_shard)


def lost_session(shard: str, lost: Iterable[Point]) -> SessionLost:
    """For points of which some are not in the shard's history."""
    return SessionLost(shard, unknown=all(point.is_unknown for point in lost))


NO_POINTS = Points()


@dataclass(frozen=True, slots=True)
class Session:
    """What was returned to one caller: the outcomes of its writes, and the answers to its reads."""

    wrote: Points = NO_POINTS
    seen: Points = NO_POINTS
    clock: int = 0
    """The newest time of a comment that was returned to it, in microseconds since 1970: one of its own comes later."""

    def merged(self, other: Session) -> Session:
        """For one that was raised in several places at once: at or after both."""
        clock = max(self.clock, other.clock)
        return Session(self.wrote.merged(other.wrote), self.seen.merged(other.seen), clock)

    def carried(self, shard: str, lineage: Lineage) -> Session:
        """`Points.carried` of both."""
        return replace(self, wrote=self.wrote.carried(shard, lineage), seen=self.seen.carried(shard, lineage))

    def asked(self, shard: str, lineage: Lineage) -> Session:
        """`Points.asked` of both."""
        return replace(self, wrote=self.wrote.asked(shard, lineage), seen=self.seen.asked(shard, lineage))


def demanded(level: Level, session: Session, fresh: Points = NO_POINTS) -> Points:
    """What a server has to show before a read of this level.

    `fresh` was stamped at the primaries after the read was asked for; only strong reads need it, and those that go to
    the primary itself do without. Strong also never falls behind what the session has seen: a replica can have shown a
    commit that its primary does not show yet.
    """
    match level:
        case Level.EVENTUAL:
            return NO_POINTS
        case Level.READ_YOUR_WRITES:
            return session.wrote
        case Level.MONOTONIC:
            return session.seen
        case Level.STRONG:
            return session.wrote.merged(session.seen).merged(fresh)
