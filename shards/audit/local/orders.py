"""Orders on their customer's shard: lines, customer and shipment. For lookup and workflow see
`shards.audit.sagas.judgement`."""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

ORDERS = LocalCheck(
    Check.ORDERS,
    "SELECT count(*) FROM orders",
    (
        Rule(
            "order {order_id} has a total of {total}, but its {lines} lines sum to {sum_of_lines}",
            """
            SELECT o.id AS order_id, o.currency, o.total AS total_minor, count(l.n) AS lines,
                   coalesce(sum(l.quantity * l.unit_price), 0) AS sum_of_lines_minor
            FROM orders AS o LEFT JOIN order_line AS l ON l.order_id = o.id
            GROUP BY o.id, o.currency, o.total
            HAVING count(l.n) = 0 OR o.total <> coalesce(sum(l.quantity * l.unit_price), 0)
            """,
        ),
        Rule(
            "line {n} belongs to order {order_id}, which does not exist here",
            """
            SELECT l.order_id, l.n, l.sku, l.quantity FROM order_line AS l
            WHERE NOT EXISTS (SELECT FROM orders WHERE id = l.order_id)
            """,
        ),
        Rule(
            "order {order_id} is of customer {customer_id}, who does not exist here",
            """
            SELECT o.id AS order_id, o.customer_id FROM orders AS o
            WHERE NOT EXISTS (SELECT FROM customer WHERE id = o.customer_id)
            """,
        ),
        Rule(
            "order {order_id} is confirmed, but no shipment was requested",
            """
            SELECT o.id AS order_id, o.customer_id FROM orders AS o
            WHERE o.state = 'confirmed' AND NOT EXISTS (SELECT FROM shipment WHERE order_id = o.id)
            """,
        ),
        Rule(
            "a shipment was requested for order {order_id}, which is {order_state}",
            """
            SELECT s.order_id, s.state, coalesce(o.state, 'not here') AS order_state
            FROM shipment AS s LEFT JOIN orders AS o ON o.id = s.order_id
            WHERE o.state IS DISTINCT FROM 'confirmed'
            """,
        ),
    ),
)
