"""Appends to the outbox: an event commits with the change that it is about, on the same shard, or neither does."""

from __future__ import annotations

from typing import Any

from domain.events import Event, aggregate_of
from shards.routing.shard_transaction import ShardTransaction


def append_event(
    tx: ShardTransaction, saga_id: str, event: Event, aggregate_id: str, version: int, **payload: Any
) -> None:
    """Adds one event to the transaction. Events of one aggregate are ordered by `version`, not by position."""
    tx.append_event(
        {
            "saga_id": saga_id,
            "aggregate": aggregate_of(event),
            "aggregate_id": aggregate_id,
            "aggregate_version": version,
            "kind": event,
            "payload": payload,
        }
    )
