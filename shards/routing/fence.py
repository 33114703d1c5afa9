"""The fence: a shard refuses a write about a slot that it does not own at the writer's map version.

The check is part of the write's own transaction and comes after its first write or row lock. Code that moves a slot
away changes the `ownership` row and then waits for all transactions that began earlier. A transaction without a
transaction id is invisible to that wait, so its stale write could commit afterwards.
"""

from __future__ import annotations


def is_owned(version: str) -> str:
    """SQL that says whether this shard owns `wanted.keyspace`, `wanted.slot` at the map version `version`, an SQL
    expression."""
    return f"""EXISTS (
        SELECT FROM ownership AS o WHERE o.keyspace = wanted.keyspace AND o.slot = wanted.slot
            AND o.state = 'owned' AND o.map_version <= {version}
    )"""
