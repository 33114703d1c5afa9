"""The outbox relay: what follows from events."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic.dataclasses import dataclass
from temporalio import activity


@dataclass(frozen=True, slots=True)
class FollowShard:
    """`seconds`: how long one call works before it answers, so that its workflow can begin its history anew."""

    shard: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one consumer stands. `events` are written and not taken yet, the oldest `seconds` ago; `is_lost`: its
    position is of another history than the shard's."""

    consumer: str
    position: str
    events: int
    seconds: float
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """`taken`: events, in this call. `standing`: of all consumers of the shard when it ended, the read model's versions
    among them; none where it could not be told. `trimmed`: events up to this position are gone."""

    taken: int
    standing: list[Standing]
    trimmed: str | None = None


class RelayActivities(ABC):
    """The loops that follow one shard's outbox, until their time is over or their worker shuts down. Each consumer has
    an activity of its own, so that one that cannot go on holds up none of the others. All heartbeat, and answer how
    many events they took and where everybody stands; workers of earlier releases answer the number alone.

    Idempotent: each consumer's position is kept with what it wrote, or behind effects that can be repeated. Two of a
    kind at once on one shard take turns. Never undone; what the events were about is.

    If we crash here, the next call goes on at the positions that were kept.
    """

    @activity.defn
    @abstractmethod
    async def project_events(self, request: FollowShard) -> Followed | int:
        """Projects the shard's events into every version of the read model."""

    @activity.defn
    @abstractmethod
    async def start_reactors(self, request: FollowShard) -> Followed | int:
        """Starts the reactors of choreographed orders, each once for its event."""

    @activity.defn
    @abstractmethod
    async def trim_outbox(self, request: FollowShard) -> Followed | int:
        """Takes away the events that every consumer has passed. Answers none: they were counted by who took them."""
