"""The outbox relay: what follows from events."""

from __future__ import annotations

from abc import ABC, abstractmethod

from pydantic.dataclasses import dataclass
from temporalio import activity


@dataclass(frozen=True, slots=True)
class RelayOutbox:
    """`seconds`: how long one call works before it answers, so that its workflow can begin its history anew."""

    shard: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Relayed:
    """Events that this call took, by consumer."""

    events: dict[str, int]


class RelayActivities(ABC):
    """The loop that follows one shard's outbox."""

    @activity.defn(name="relay_outbox")
    @abstractmethod
    async def relay_outbox(self, request: RelayOutbox) -> Relayed:
        """Projects the shard's events into the read model and starts the reactors of choreographed orders, as they
        come, until its time is over or its worker shuts down. Heartbeats.

        Idempotent: each consumer's position is kept with what it wrote, or behind effects that can be repeated. Two at
        once on one shard take turns. Never undone; what the events were about is.

        If we crash here, the next call goes on at the positions that were kept.
        """
