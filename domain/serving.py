"""Whether a server is good enough for a read at a point, from what it was just seen to have.

| server | good enough when |
| --- | --- |
| replica | it has replayed up to `lsn` |
| primary | every transaction below `xmax` has ended for its snapshot |
| read model | its cursor is above `event`, and not below `taken` |

All of them only in the point's own fork, or in a later one to which it carries over. The facts are asked in a statement
of their own under READ COMMITTED, and the read is the next statement on the same connection: a snapshot that was taken
before the server was good enough stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum

from domain.consistency import Point
from domain.histories import Lineage, Standing
from domain.wal_positions import lsn_text


class Lack(StrEnum):
    """`HISTORY`: of a fork that this server does not know (yet). `LOST`: of one that went another way, so no server has
    it. `PRIMARY`: returned while the primary was away, so only a stamp or a read there can show it. The others
    come with time.
    """

    HISTORY = "history"
    LOST = "lost"
    PRIMARY = "primary"
    REPLAY = "replay"
    RUNNING = "running"
    EVENT = "event"
    CURSOR = "cursor"


@dataclass(frozen=True, slots=True)
class Missing:
    """`what` is a clause for a person, about the server."""

    lack: Lack
    what: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one server about all points of one shard. Nothing missing: it may be read."""

    missing: tuple[Missing, ...] = ()

    @property
    def is_good(self) -> bool:
        return not self.missing

    @property
    def is_lost(self) -> bool:
        """The read ends as `SessionLost`, whatever other servers say."""
        return any(each.lack is Lack.LOST for each in self.missing)

    @property
    def may_come(self) -> bool:
        """Waiting for this server can help."""
        return not any(each.lack in (Lack.LOST, Lack.PRIMARY) for each in self.missing)

    @property
    def why(self) -> str:
        """For a person, to be said after the server's name. Empty where nothing is missing."""
        return " and ".join(dict.fromkeys(each.what for each in self.missing))


@dataclass(frozen=True, slots=True)
class ReplicaFacts:
    """`lineage` as its own rows say. `replayed`: `pg_last_wal_replay_lsn()`."""

    lineage: Lineage
    replayed: int


@dataclass(frozen=True, slots=True)
class PrimaryFacts:
    """Of one snapshot: `running` is `pg_snapshot_xip`, which leaves out all from `snapshot_xmax` on. Those run or have
    not begun: the newest transaction is never in the list while it is being committed."""

    lineage: Lineage
    running: Collection[int]
    snapshot_xmax: int


@dataclass(frozen=True, slots=True)
class ReadModelFacts:
    """`lineage` of the shard as the projector saw it when it committed the `cursor`, below which it took everything."""

    lineage: Lineage
    cursor: int


def of_replica(points: Iterable[Point], facts: ReplicaFacts) -> Verdict:
    def lacks(point: Point) -> Iterable[Missing]:
        if point.is_unknown:
            yield _ONLY_THE_PRIMARY
        if facts.replayed < point.lsn:
            what = f"has replayed up to {lsn_text(facts.replayed)} of {lsn_text(point.lsn)}"
            yield Missing(Lack.REPLAY, what)

    return _verdict(points, facts.lineage, lacks)


def of_primary(points: Iterable[Point], facts: PrimaryFacts) -> Verdict:
    """A transaction that a two-phase commit left in doubt can hold this up for as long as it stays so: a wait for it is
    bounded, and ends with a refusal."""

    def lacks(point: Point) -> Iterable[Missing]:
        running = sorted(xid for xid in facts.running if xid < point.xmax)
        if running:
            more = f" and {len(running) - 1} more" if len(running) > 1 else ""
            yield Missing(Lack.RUNNING, f"does not show yet how transaction {running[0]}{more} ended")
        elif facts.snapshot_xmax < point.xmax:
            yield Missing(Lack.RUNNING, f"does not show yet how transaction {facts.snapshot_xmax} ended")

    return _verdict(points, facts.lineage, lacks, is_primary=True)


def of_read_model(points: Iterable[Point], facts: ReadModelFacts) -> Verdict:
    def lacks(point: Point) -> Iterable[Missing]:
        if point.is_unknown:
            yield _ONLY_THE_PRIMARY
        if point.event and facts.cursor <= point.event:
            yield Missing(Lack.EVENT, f"has taken the events below {facts.cursor}, and not that of {point.event}")
        if facts.cursor < point.taken:
            yield Missing(Lack.CURSOR, f"has taken the events below {facts.cursor} of {point.taken}")

    return _verdict(points, facts.lineage, lacks)


_ONLY_THE_PRIMARY = Missing(Lack.PRIMARY, "may lack what was returned while the primary was away")
_LOST = Missing(Lack.LOST, "is of a history without what this session has seen")
_NOT_THERE = Missing(Lack.HISTORY, "is of another history than what this session has seen")


def _verdict(
    points: Iterable[Point],
    lineage: Lineage,
    lacks: Callable[[Point], Iterable[Missing]],
    is_primary: bool = False,
) -> Verdict:
    missing: list[Missing] = []
    for point in points:
        match point.standing(lineage):
            case Standing.HERE:
                missing += lacks(point)
            case Standing.ELSEWHERE if not is_primary:
                missing.append(_NOT_THERE)
            case _:
                missing.append(_LOST)
    return Verdict(tuple(dict.fromkeys(missing)))
