"""Holds: the held amount of an account is the sum of its placed holds, and a hold's state matches its order's.

Hold, account and order are on the customer's shard, and each change of them is one transaction.
"""

from __future__ import annotations

from domain.steps import Step
from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

HOLDS = LocalCheck(
    Check.HOLDS,
    "SELECT count(*) FROM hold",
    (
        Rule(
            "account {account_id} has {held} held, but its placed holds sum to {placed}",
            """
            SELECT a.id AS account_id, a.currency, a.held AS held_minor, coalesce(sum(h.amount), 0) AS placed_minor
            FROM account AS a LEFT JOIN hold AS h ON h.account_id = a.id AND h.state = 'placed'
            GROUP BY a.id, a.currency, a.held HAVING a.held <> coalesce(sum(h.amount), 0)
            """,
        ),
        Rule(
            "the hold of {saga_id} is on account {account_id}, which does not exist here",
            """
            SELECT h.saga_id, h.step, h.account_id, h.amount AS amount_minor, h.state FROM hold AS h
            WHERE NOT EXISTS (SELECT FROM account WHERE id = h.account_id)
            """,
        ),
        Rule(
            "the hold of {saga_id} is {state}, but its order is {order_state}",
            """
            SELECT h.saga_id, h.step, h.account_id, a.currency, h.amount AS amount_minor, h.state,
                   coalesce(o.state, 'not here') AS order_state
            FROM hold AS h
            LEFT JOIN account AS a ON a.id = h.account_id
            LEFT JOIN orders AS o ON 'order/' || o.id = h.saga_id
            WHERE h.saga_id LIKE 'order/%' AND (o.id IS NULL OR NOT CASE h.state
                WHEN 'placed' THEN o.state IN ('pending', 'aborting')
                WHEN 'captured' THEN o.state = 'confirmed'
                WHEN 'released' THEN o.state IN ('rejected', 'cancelled')
                ELSE false END)
            """,
        ),
        Rule(
            "the hold of {saga_id} is {amount} on account {account_id}, its order {total} of customer {customer_id}",
            """
            SELECT h.saga_id, h.step, h.account_id, o.customer_id, o.currency, h.amount AS amount_minor,
                   o.total AS total_minor
            FROM hold AS h JOIN orders AS o ON 'order/' || o.id = h.saga_id
            WHERE h.amount <> o.total OR h.account_id <> o.customer_id
            """,
        ),
        Rule(
            "{saga_id} is {order_state} with a total of {total}, but its payment was never held",
            f"""
            SELECT b.saga_id, o.id AS order_id, o.state AS order_state, o.currency, o.total AS total_minor
            FROM orders AS o JOIN barrier AS b ON b.saga_id = 'order/' || o.id AND b.op = 'do'
              AND CASE WHEN o.choreography IS NULL THEN b.step = '{Step.OPEN_ORDER}'
                  -- A step that was only barred has no hold either.
                  ELSE b.step = '{Step.HOLD_PAYMENT}' AND NOT EXISTS (
                      SELECT FROM barrier WHERE saga_id = b.saga_id AND step = b.step AND op = 'undo') END
            WHERE o.total > 0 AND NOT EXISTS (SELECT FROM hold WHERE saga_id = b.saga_id)
              AND (o.state = 'confirmed' OR jsonb_typeof(b.result) IS DISTINCT FROM 'object')
            """,
        ),
        Rule(
            "the hold of {saga_id} over {amount} is captured, but {captured} left account {account_id}",
            """
            SELECT h.saga_id, h.step, h.account_id, a.currency, h.amount AS amount_minor,
                   coalesce(-sum(e.amount), 0) AS captured_minor
            FROM hold AS h
            LEFT JOIN account AS a ON a.id = h.account_id
            LEFT JOIN movement AS m ON m.saga_id = h.saga_id AND m.kind = 'capture'
            LEFT JOIN entry AS e ON e.movement_id = m.id AND e.account_id = h.account_id
            WHERE h.state = 'captured' GROUP BY h.saga_id, h.step, h.account_id, a.currency, h.amount
            HAVING h.amount <> coalesce(-sum(e.amount), 0)
            """,
        ),
        Rule(
            "movement {movement_id} captured money for {saga_id} without a captured hold",
            """
            SELECT m.id AS movement_id, m.saga_id, m.currency FROM movement AS m
            WHERE m.kind = 'capture'
              AND NOT EXISTS (SELECT FROM hold WHERE saga_id = m.saga_id AND state = 'captured')
            """,
        ),
    ),
)
