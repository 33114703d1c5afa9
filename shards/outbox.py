"""The outbox: every transaction that changes something appends its event to its own shard, or neither happens."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from shards.routing import ShardTransaction

_APPEND = text("""
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    VALUES (:origin_shard, :saga_id, :aggregate, :aggregate_id, :aggregate_version, :kind, :payload)
""").bindparams(bindparam("payload", type_=JSONB))


async def append(
    tx: ShardTransaction, saga_id: str, aggregate: str, aggregate_id: str, version: int, kind: str, **payload: Any
) -> None:
    """Adds one event to the transaction. `version` orders the events of one aggregate; positions do not."""
    await tx.execute(
        _APPEND,
        origin_shard=tx.route.shard,
        saga_id=saga_id,
        aggregate=aggregate,
        aggregate_id=aggregate_id,
        aggregate_version=version,
        kind=kind,
        payload=payload,
    )
