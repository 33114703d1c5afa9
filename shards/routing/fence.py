"""The fence: a shard refuses a write about a slot that it does not own at the map version by which the writer came.

The check is part of the write's own transaction, and follows its first write or row lock. Whoever moves a slot away
changes its `ownership` row and then waits for every transaction that began before: one without a transaction id is
invisible to that wait, and its stale write would commit behind it.
"""

from __future__ import annotations


def is_owned(version: str) -> str:
    """SQL that says whether this shard owns `wanted.keyspace`, `wanted.slot` at the map version `version`, an SQL
    expression."""
    return f"""EXISTS (
        SELECT FROM ownership AS o WHERE o.keyspace = wanted.keyspace AND o.slot = wanted.slot
            AND o.state = 'owned' AND o.map_version <= {version}
    )"""
