"""Double entry: every movement sums to zero in one currency, and every balance is the sum of its entries."""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

LEDGER = LocalCheck(
    Check.LEDGER,
    "SELECT (SELECT count(*) FROM movement) + (SELECT count(*) FROM account)",
    (
        Rule(
            "movement {movement_id} ({kind} of {saga_id}) has {entries} entries that sum to {off_by}, not to zero",
            """
            SELECT m.id AS movement_id, m.saga_id, m.kind, m.currency,
                   count(e.n) AS entries, coalesce(sum(e.amount), 0) AS off_by_minor
            FROM movement AS m LEFT JOIN entry AS e ON e.movement_id = m.id
            GROUP BY m.id, m.saga_id, m.kind, m.currency
            HAVING coalesce(sum(e.amount), 0) <> 0 OR count(e.n) < 2
            """,
        ),
        Rule(
            "entry {n} of movement {movement_id} belongs to no movement",
            """
            SELECT e.movement_id, e.n, e.account_id, e.currency, e.amount AS amount_minor
            FROM entry AS e WHERE NOT EXISTS (SELECT FROM movement WHERE id = e.movement_id)
            """,
        ),
        Rule(
            "entry {n} of movement {movement_id} is on account {account_id}, which does not exist here",
            """
            SELECT e.movement_id, e.n, e.account_id, e.currency, e.amount AS amount_minor
            FROM entry AS e WHERE NOT EXISTS (SELECT FROM account WHERE id = e.account_id)
            """,
        ),
        Rule(
            "entry {n} of movement {movement_id} is in {currency}, its movement in {movement_currency}, "
            "its account {account_id} in {account_currency}",
            """
            SELECT e.movement_id, e.n, e.account_id, e.currency, e.amount AS amount_minor,
                   m.currency AS movement_currency, a.currency AS account_currency
            FROM entry AS e JOIN movement AS m ON m.id = e.movement_id JOIN account AS a ON a.id = e.account_id
            WHERE e.currency <> m.currency OR e.currency <> a.currency
            """,
        ),
        Rule(
            "account {account_id} has {posted} posted, but its entries sum to {entries}",
            """
            SELECT a.id AS account_id, a.kind, a.currency, a.posted AS posted_minor,
                   coalesce(sum(e.amount), 0) AS entries_minor
            FROM account AS a LEFT JOIN entry AS e ON e.account_id = a.id
            WHERE a.kind IN ('customer', 'merchant') GROUP BY a.id, a.kind, a.currency, a.posted
            HAVING a.posted IS DISTINCT FROM coalesce(sum(e.amount), 0)
            """,
        ),
        Rule(
            "account {account_id} is overdrawn: {posted} posted, {held} held, {overdraft} overdraft allowed",
            """
            SELECT id AS account_id, kind, currency, posted AS posted_minor, held AS held_minor,
                   overdraft AS overdraft_minor
            FROM account WHERE posted - held + overdraft < 0
            """,
        ),
        Rule(
            "account {account_id} belongs to no customer",
            """
            SELECT a.id AS account_id, a.kind, a.currency FROM account AS a
            WHERE a.kind = 'customer' AND NOT EXISTS (SELECT FROM customer WHERE id = a.id)
            """,
        ),
        Rule(
            "customer {customer_id} has no account",
            """
            SELECT c.id AS customer_id FROM customer AS c
            WHERE NOT EXISTS (SELECT FROM account WHERE id = c.id AND kind = 'customer')
            """,
        ),
    ),
)
