"""Every version of an aggregate has an event, as far as events are kept.

Each change raises the version by one and appends an event in the same transaction. The trimmer deletes events in the
order of transaction ids, and a transaction that waited for an aggregate's lock can have a lower id than the one that it
waited for. So if events were trimmed, versions must be complete only from one minute after the oldest event on; that is
much longer than a transaction may take.
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
            ), recorded AS (
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
                UNION ALL SELECT 'comment', id, version FROM comment
                UNION ALL SELECT 'transfer', source || '/' || id, version FROM transfer
            )
            SELECT aggregate, aggregate_id, version, oldest, n AS told
            FROM has JOIN recorded USING (aggregate, aggregate_id),
                 LATERAL (SELECT count(*) AS n FROM unnest(versions) AS v WHERE v BETWEEN oldest AND version) AS counted
            WHERE n < version - oldest + 1
            """,
        ),
    ),
)
