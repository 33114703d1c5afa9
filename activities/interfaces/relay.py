"""The outbox relay: the consumers of a shard's events."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic.dataclasses import dataclass
from temporalio import activity


@dataclass(frozen=True, slots=True)
class FollowShard:
    """`seconds`: how long one call works before it returns, so that its workflow can continue as new."""

    shard: str
    seconds: float


@dataclass(frozen=True, slots=True)
class ConsumerPosition:
    """One consumer's position and lag: `events` are written and not taken yet, the oldest `seconds` ago. `is_lost`: the
    position is of another history than the shard's."""

    consumer: str
    position: str
    events: int
    seconds: float
    is_lost: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """`taken`: how many events this call took. `standing`: the positions, when it ended, of all consumers of the shard,
    the read model's versions among them; empty if they could not be read. `trimmed`: events up to this position are
    gone."""

    taken: int
    standing: list[ConsumerPosition]
    trimmed: str | None = None


class RelayActivities(ABC):
    """The loops that follow one shard's outbox, until their time is over or their worker shuts down. Each consumer has
    an activity of its own, so that a blocked one does not hold up the others. All heartbeat, and return how many events
    they took and every consumer's position; workers of earlier releases return the number alone.

    Idempotent: a consumer stores its position with what it wrote, or after effects that can be repeated. Two of a kind
    at once on one shard take turns. Never undone: a compensation appends events of its own.

    If we crash here, the next call goes on at the stored positions.
    """

    @activity.defn
    @abstractmethod
    async def project_events(self, request: FollowShard) -> Followed | int:
        """Projects the shard's events into every version of the read model."""

    @activity.defn
    @abstractmethod
    async def start_reactors(self, request: FollowShard) -> Followed | int:
        """Starts the reactors of choreographed orders, each once for its event. Beside that, brings comments home that
        the shard has taken for others."""

    @activity.defn
    @abstractmethod
    async def trim_outbox(self, request: FollowShard) -> Followed | int:
        """Deletes the events that every consumer has passed. Its `taken` is 0: the consumers have counted them."""
