"""Clearing on one shard: its balance is the sum of its legs, and each leg matches its movement.

That the two legs of a saga match is checked across shards: see `shards.audit.sagas.judgement`.
"""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

CLEARING = LocalCheck(
    Check.CLEARING,
    "SELECT count(*) FROM clearing_leg",
    (
        Rule(
            "clearing in {currency} holds {entries}, but its legs sum to {legs}",
            """
            SELECT currency, coalesce(e.total, 0) AS entries_minor, coalesce(l.total, 0) AS legs_minor
            FROM (
                SELECT a.currency, sum(entry.amount) AS total
                FROM account AS a JOIN entry ON entry.account_id = a.id WHERE a.kind = 'clearing' GROUP BY a.currency
            ) AS e
            FULL JOIN (SELECT currency, sum(amount) AS total FROM clearing_leg GROUP BY currency) AS l USING (currency)
            WHERE coalesce(e.total, 0) <> coalesce(l.total, 0)
            """,
        ),
        Rule(
            "the {role} leg of {saga_id} is {amount} {currency}, but its movement {movement_id} moved {moved} "
            "({movement_kind} of {movement_saga_id})",
            """
            SELECT l.saga_id, l.role, l.currency, l.amount AS amount_minor, l.movement_id, c.amount AS moved_minor,
                   m.kind AS movement_kind, m.saga_id AS movement_saga_id
            FROM clearing_leg AS l
            LEFT JOIN movement AS m ON m.id = l.movement_id
            LEFT JOIN (
                SELECT entry.movement_id, sum(entry.amount) AS amount
                FROM entry JOIN account AS a ON a.id = entry.account_id AND a.kind = 'clearing'
                GROUP BY entry.movement_id
            ) AS c ON c.movement_id = l.movement_id
            WHERE c.amount IS DISTINCT FROM l.amount
               OR m.saga_id IS DISTINCT FROM l.saga_id
               OR m.currency IS DISTINCT FROM l.currency
               OR m.kind IS NULL
               OR NOT m.kind = ANY(CASE l.role WHEN 'first' THEN ARRAY['capture', 'debit'] ELSE ARRAY['credit'] END)
            """,
        ),
        Rule(
            "movement {movement_id} ({kind} of {saga_id}) passed through clearing without a leg",
            """
            SELECT m.id AS movement_id, m.saga_id, m.kind, m.currency FROM movement AS m
            WHERE m.kind IN ('capture', 'debit', 'credit')
              AND NOT EXISTS (SELECT FROM clearing_leg WHERE movement_id = m.id)
            """,
        ),
    ),
)
