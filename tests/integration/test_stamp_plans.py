"""A stamp follows each outcome that a session is told, and most reads: more events must not make it read more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from shards.connections.cluster import Cluster
from shards.reading import facts
from tests.support.read_model import run

EVENTS = """
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    SELECT 'shard-1', '', 'product', 'S' || n, 1, 'imported', '{}' FROM generate_series(1, 5000) AS n
"""
# The same plan as on a replica, where the function has something to tell.
STAMPS = {"primary": facts._STAMP_PRIMARY, "replica": facts._STAMP_REPLICA}


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", ()) for node in nodes(below))]


@pytest.mark.parametrize("server", STAMPS)
async def test_a_stamp_finds_the_newest_event_by_its_index(cluster: Cluster, server: str) -> None:
    primary = cluster.primaries["shard-1"]
    await run(primary, EVENTS)
    async with primary.autocommit() as connection:
        found = await connection.execute(text(f"EXPLAIN (FORMAT JSON) {STAMPS[server].text}"), {"forks": []})
        plan = found.scalar_one()[0]["Plan"]
    of_outbox = [node for node in nodes(plan) if node.get("Relation Name") == "outbox"]
    assert [node.get("Index Name") for node in of_outbox] == ["outbox_position"], json.dumps(plan, indent=1)
