"""How far who reads the shards' events is behind: declared where it is read, in `shards.monitoring.event_lag`."""

from __future__ import annotations

from shards.monitoring.event_lag import (
    ConsumerLag,
    EventsDocument,
    InDoubtNow,
    Parked,
    ShardEvents,
    consumer_name,
    events_document,
)

__all__ = [
    "ConsumerLag",
    "EventsDocument",
    "InDoubtNow",
    "Parked",
    "ShardEvents",
    "consumer_name",
    "events_document",
]
