"""Settings that lead to servers of one's own where nothing listens."""

from __future__ import annotations

import json

import pytest

NOTHING = "postgresql://nobody@127.0.0.1:1/nothing"


def lead_nowhere(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("SHARDWISE_SHARDS", json.dumps({f"shard-{n}": NOTHING for n in (1, 2, 3)}))
    environment.setenv("SHARDWISE_CATALOG_DSN", NOTHING)
    environment.setenv("SHARDWISE_READ_MODEL_DSN", NOTHING)
    environment.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
