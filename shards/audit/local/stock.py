"""Stock of one shard: reserved and on-hand quantities follow from reservations and receipts.

That reservations match their orders is checked across shards: see `shards.audit.sagas.judgement`.
"""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

STOCK = LocalCheck(
    Check.STOCK,
    "SELECT (SELECT count(*) FROM stock) + (SELECT count(*) FROM reservation)",
    (
        Rule(
            "{sku} has {reserved} reserved, but its open reservations sum to {reservations}",
            """
            SELECT s.sku, s.reserved, coalesce(sum(r.quantity), 0) AS reservations
            FROM stock AS s LEFT JOIN reservation AS r ON r.sku = s.sku AND r.state = 'reserved'
            GROUP BY s.sku, s.reserved HAVING s.reserved <> coalesce(sum(r.quantity), 0)
            """,
        ),
        Rule(
            "{sku} has {on_hand} on hand, but {received} came in and {consumed} left",
            """
            SELECT s.sku, s.on_hand, coalesce(i.quantity, 0) AS received, coalesce(o.quantity, 0) AS consumed
            FROM stock AS s
            LEFT JOIN (SELECT sku, sum(quantity) AS quantity FROM stock_receipt GROUP BY sku) AS i ON i.sku = s.sku
            LEFT JOIN (
                SELECT sku, sum(quantity) AS quantity FROM reservation WHERE state = 'consumed' GROUP BY sku
            ) AS o ON o.sku = s.sku
            WHERE s.on_hand <> coalesce(i.quantity, 0) - coalesce(o.quantity, 0)
            """,
        ),
        Rule(
            "{sku} has {reserved} reserved of {on_hand} on hand",
            "SELECT sku, reserved, on_hand FROM stock WHERE reserved > on_hand OR reserved < 0 OR on_hand < 0",
        ),
        Rule(
            "{sku} is reserved for {saga_id}, but its stock is not here",
            """
            SELECT r.saga_id, r.sku, r.quantity, r.state FROM reservation AS r
            WHERE NOT EXISTS (SELECT FROM stock WHERE sku = r.sku)
            """,
        ),
        Rule(
            "{quantity} of {sku} came in by receipt {receipt_id}, but its stock is not here",
            """
            SELECT i.id AS receipt_id, i.sku, i.quantity FROM stock_receipt AS i
            WHERE NOT EXISTS (SELECT FROM stock WHERE sku = i.sku)
            """,
        ),
        Rule(
            "there is stock of {sku}, but no such product",
            """
            SELECT s.sku, s.on_hand FROM stock AS s WHERE NOT EXISTS (SELECT FROM product WHERE sku = s.sku)
            """,
        ),
        Rule(
            "product {sku} has no stock row",
            "SELECT p.sku FROM product AS p WHERE NOT EXISTS (SELECT FROM stock WHERE sku = p.sku)",
        ),
    ),
)
