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


class RelayActivities(ABC):
    """The loops that follow one shard's outbox, until their time is over or their worker shuts down. Each consumer has
    an activity of its own, so that one that cannot go on holds up none of the others. All heartbeat, and answer how
    many events they took.

    Idempotent: each consumer's position is kept with what it wrote, or behind effects that can be repeated. Two of a
    kind at once on one shard take turns. Never undone; what the events were about is.

    If we crash here, the next call goes on at the positions that were kept.
    """

    @activity.defn(name="project_events")
    @abstractmethod
    async def project_events(self, request: FollowShard) -> int:
        """Projects the shard's events into every version of the read model."""

    @activity.defn(name="start_reactors")
    @abstractmethod
    async def start_reactors(self, request: FollowShard) -> int:
        """Starts the reactors of choreographed orders, each once for its event."""

    @activity.defn(name="trim_outbox")
    @abstractmethod
    async def trim_outbox(self, request: FollowShard) -> int:
        """Takes away the events that every consumer has passed. Answers none: they were counted by who took them."""
