"""The session of one caller while it is used: raised by whatever was returned to it, also by several tasks at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from domain.consistency import NO_POINTS, Points, Session, points_of
from domain.errors import SessionLost
from domain.histories import UNKNOWN_FORK, Standing
from shards.reading.facts import Stamp, forks_of


@dataclass(slots=True)
class HeldSession:
    """`before` in its methods is the session as it was when the server was asked: what was returned meanwhile, to other
    tasks, is not covered by the answer.

    What a shard has lost stays in the session, and its next read that demands it says so: an outcome that is returned
    now is one all the same.
    """

    session: Session = field(default_factory=Session)

    def forks(self, shard: str) -> frozenset[str]:
        return forks_of((*self.session.wrote.of(shard), *self.session.seen.of(shard)))

    def wrote(self, shard: str, before: Session, stamp: Stamp) -> None:
        """After an outcome that concerns this shard, whose primary was then stamped."""
        self._after_primary(shard, before, stamp, wrote=True)

    def saw_primary(self, shard: str, before: Session, stamp: Stamp) -> None:
        self._after_primary(shard, before, stamp, wrote=False)

    def saw_replica(self, shard: str, stamp: Stamp) -> None:
        raised = self.session.merged(Session(seen=points_of([(shard, stamp.point)])))
        held = (*raised.wrote.of(shard), *raised.seen.of(shard))
        # A replica may not know the newest fork yet, and only the primary knows what is lost.
        if all(point.standing(stamp.lineage) is Standing.HERE for point in held):
            raised = raised.carried(shard, stamp.lineage)
        self.session = raised

    def saw(self, points: Points) -> None:
        """After a list, which shows every shard."""
        self.session = self.session.merged(Session(seen=points))

    def saw_time(self, clock: int) -> None:
        """Of a comment, in microseconds since 1970."""
        self.session = self.session.merged(Session(clock=clock))

    def wrote_unstamped(self, shard: str) -> None:
        """After an outcome was returned while the shard's primary did not answer."""
        seen = (*self.session.wrote.of(shard), *self.session.seen.of(shard))
        fork = next((point.fork for point in reversed(seen)), UNKNOWN_FORK)
        wrote = self.session.wrote.returned_unstamped(shard, int(time.time() * 1000), fork)
        self.session = replace(self.session, wrote=wrote)

    def _after_primary(self, shard: str, before: Session, stamp: Stamp, wrote: bool) -> None:
        new = points_of([(shard, stamp.point)])
        try:
            carried, asked = self.session.carried(shard, stamp.lineage), before.asked(shard, stamp.lineage)
        except SessionLost:
            self.session = self.session.merged(Session(wrote=new) if wrote else Session(seen=new))
            return
        # What was unknown lies below this stamp, so that from now on replicas can have it too.
        covered = any(point.is_unknown for point in before.wrote.of(shard))
        raised = Session(
            asked.wrote.merged(new if wrote or covered else NO_POINTS),
            asked.seen.merged(NO_POINTS if wrote else new),
        )
        self.session = carried.merged(raised)
