"""How far the consumers of the shards' events are behind. Declared in `shards.monitoring.event_lag`."""

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
