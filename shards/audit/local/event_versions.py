"""Every version that an aggregate has had is told by an event, as far as events are kept.

Each change raises the version of what it changes by one and tells so in its own transaction. The trimmer takes events
in the order of transactions, and a transaction that waited for an aggregate's lock can be older than the one it waited
for: so where something was trimmed, only what is a minute younger than the oldest event must be whole, which is much
longer than a transaction may take.
"""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

EVENT_VERSIONS = LocalCheck(
    Check.READ_MODEL,
    "SELECT count(*) FROM outbox",
    (
        Rule(
            "{aggregate} {aggregate_id} is at version {version}, but of its versions from {oldest} on only {told} have "
            "an event",
            """
            WITH trimmed AS MATERIALIZED (
                SELECT max(xid) AS xid FROM outbox_cursor WHERE consumer = 'trimmed'
            ), kept AS MATERIALIZED (
                SELECT min(created_at) + interval '1 minute' AS since
                FROM outbox, trimmed WHERE outbox.xid > trimmed.xid
            ), told AS (
                SELECT aggregate, aggregate_id, array_agg(DISTINCT aggregate_version) AS versions,
                       CASE WHEN (SELECT xid FROM trimmed) IS NULL THEN 1 ELSE
                           min(aggregate_version) FILTER (WHERE created_at >= (SELECT since FROM kept)) END AS oldest
                FROM outbox GROUP BY aggregate, aggregate_id
            ), has AS (
                SELECT 'product' AS aggregate, sku AS aggregate_id, version FROM product
                UNION ALL SELECT 'stock', sku, version FROM stock
                UNION ALL SELECT 'customer', id, version FROM customer
                UNION ALL SELECT 'account', id, version FROM account
                UNION ALL SELECT 'order', id, version FROM orders
                UNION ALL SELECT 'transfer', source || '/' || id, version FROM transfer
            )
            SELECT aggregate, aggregate_id, version, oldest, n AS told
            FROM has JOIN told USING (aggregate, aggregate_id),
                 LATERAL (SELECT count(*) AS n FROM unnest(versions) AS v WHERE v BETWEEN oldest AND version) AS counted
            WHERE n < version - oldest + 1
            """,
        ),
    ),
)
