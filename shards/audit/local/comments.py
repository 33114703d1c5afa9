"""Comments of one shard: none waits for its home for ever."""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

# The relay brings them home within seconds of the home's return. `verify` needs all shards, so the home is there.
WAITS_SECONDS_MAX = 300

COMMENTS = LocalCheck(
    Check.COMMENTS,
    "SELECT (SELECT count(*) FROM comment) + (SELECT count(*) FROM comment_handoff)",
    (
        Rule(
            "comment {id} on {sku} was taken at {taken_at}, and still waits to be brought home: is a worker running?",
            f"""
            SELECT id, sku, CAST(taken_at AS text) AS taken_at FROM comment_handoff
            WHERE homed_at IS NULL AND taken_at < clock_timestamp() - interval '{WAITS_SECONDS_MAX} seconds'
            """,
        ),
    ),
)
