"""Transfers on one shard: money that a row says was moved was moved, and no other was.

That source and target match is checked across shards: see `shards.audit.sagas.transfer_judgement`.
"""

from __future__ import annotations

from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule

_SAGA = "'transfer/' || t.source || '/' || t.id"

TRANSFERS = LocalCheck(
    Check.TRANSFERS,
    "SELECT (SELECT count(*) FROM transfer) + (SELECT count(*) FROM admission)",
    (
        Rule(
            "{saga_id} ({protocol}) is confirmed over {amount}, but {moved} left account {source}",
            f"""
            SELECT {_SAGA} AS saga_id, t.protocol, t.source, t.currency, t.amount AS amount_minor,
                   coalesce(-sum(e.amount), 0) AS moved_minor
            FROM transfer AS t
            LEFT JOIN movement AS m ON m.saga_id = {_SAGA} AND m.currency = t.currency
                AND m.kind = CASE t.protocol WHEN 'local' THEN 'transfer' WHEN 'saga' THEN 'capture' ELSE 'debit' END
            LEFT JOIN entry AS e ON e.movement_id = m.id AND e.account_id = t.source
            WHERE t.state = 'confirmed' GROUP BY t.source, t.id, t.protocol, t.currency, t.amount
            HAVING t.amount <> coalesce(-sum(e.amount), 0)
            """,
        ),
        Rule(
            "{saga_id} moved {amount} within this shard, but {moved} reached account {target}",
            f"""
            SELECT {_SAGA} AS saga_id, t.target, t.currency, t.amount AS amount_minor,
                   coalesce(sum(e.amount), 0) AS moved_minor
            FROM transfer AS t
            LEFT JOIN movement AS m ON m.saga_id = {_SAGA} AND m.kind = 'transfer'
            LEFT JOIN entry AS e ON e.movement_id = m.id AND e.account_id = t.target
            WHERE t.state = 'confirmed' AND t.protocol = 'local'
            GROUP BY t.source, t.id, t.target, t.currency, t.amount HAVING t.amount <> coalesce(sum(e.amount), 0)
            """,
        ),
        Rule(
            "movement {movement_id} ({kind} of {saga_id}) took money from an account, but its transfer is {state}",
            f"""
            SELECT m.id AS movement_id, m.saga_id, m.kind, m.currency, coalesce(t.state, 'not here') AS state
            FROM movement AS m LEFT JOIN transfer AS t ON {_SAGA} = m.saga_id
            WHERE m.saga_id LIKE 'transfer/%' AND m.kind <> 'credit' AND t.state IS DISTINCT FROM 'confirmed'
            """,
        ),
        Rule(
            "{saga_id} is {state}, but its hold over {amount} on account {account_id} is {hold_state}",
            f"""
            SELECT h.saga_id, coalesce(t.state, 'not here') AS state, h.account_id, a.currency,
                   h.amount AS amount_minor, h.state AS hold_state
            FROM hold AS h LEFT JOIN account AS a ON a.id = h.account_id LEFT JOIN transfer AS t ON {_SAGA} = h.saga_id
            WHERE h.saga_id LIKE 'transfer/%' AND (t.id IS NULL OR h.state IS DISTINCT FROM CASE t.state
                WHEN 'pending' THEN 'placed' WHEN 'confirmed' THEN 'captured' ELSE 'released' END)
            """,
        ),
        Rule(
            "{saga_id} is {state} over {amount}, but {held} of account {source} was held for it",
            f"""
            SELECT {_SAGA} AS saga_id, t.state, t.source, t.currency, t.amount AS amount_minor,
                   coalesce(sum(h.amount), 0) AS held_minor
            FROM transfer AS t LEFT JOIN hold AS h ON h.saga_id = {_SAGA} AND h.account_id = t.source
            WHERE t.protocol = 'saga' AND t.state IN ('pending', 'confirmed')
            GROUP BY t.source, t.id, t.state, t.currency, t.amount HAVING t.amount <> coalesce(sum(h.amount), 0)
            """,
        ),
        Rule(
            "the admission of {saga_id} over {amount} is credited, but {credited} reached account {account_id}",
            """
            SELECT a.saga_id, a.account_id, a.currency, a.amount AS amount_minor,
                   coalesce(sum(e.amount), 0) AS credited_minor
            FROM admission AS a
            LEFT JOIN movement AS m ON m.saga_id = a.saga_id AND m.kind = 'credit' AND m.currency = a.currency
            LEFT JOIN entry AS e ON e.movement_id = m.id AND e.account_id = a.account_id
            WHERE a.state = 'credited' GROUP BY a.saga_id, a.account_id, a.currency, a.amount
            HAVING a.amount <> coalesce(sum(e.amount), 0)
            """,
        ),
        Rule(
            "movement {movement_id} credited an account for {saga_id}, whose admission is {state}",
            """
            SELECT m.id AS movement_id, m.saga_id, m.currency, coalesce(a.state, 'not here') AS state
            FROM movement AS m LEFT JOIN admission AS a ON a.saga_id = m.saga_id
            WHERE m.saga_id LIKE 'transfer/%' AND m.kind = 'credit' AND a.state IS DISTINCT FROM 'credited'
            """,
        ),
        Rule(
            "account {account_id} is closed, but has {posted} posted, {held} held and {admissions} open admissions",
            """
            SELECT id AS account_id, currency, posted AS posted_minor, held AS held_minor, admissions
            FROM account, LATERAL (
                SELECT count(*) AS admissions FROM admission WHERE account_id = account.id AND state = 'open'
            ) AS open WHERE state = 'closed' AND (posted <> 0 OR held <> 0 OR admissions > 0)
            """,
        ),
    ),
)
