"""Effects and their barrier rows, on the shard of the effect: neither exists without the other.

An effect without its barrier row would be done again; one that was not removed by its undo belongs to no saga.
Whether a workflow still works on the saga is checked across shards: see `shards.audit.sagas.judgement`.
"""

from __future__ import annotations

from domain.steps import Step
from shards.audit.findings import Check
from shards.audit.local.rules import LocalCheck, Rule


def _without_barrier(what: str, effects: str, step: str) -> Rule:
    """`effects` has a saga_id; `step` is SQL over its columns."""
    return Rule(
        what,
        f"""
        SELECT effect.* FROM ({effects}) AS effect WHERE NOT EXISTS (
            SELECT FROM barrier AS b WHERE b.saga_id = effect.saga_id AND b.step = {step} AND b.op = 'do'
        )
        """,
    )


_RESERVATIONS = """
    SELECT r.saga_id, r.sku, r.quantity, r.state, s.sku_range FROM reservation AS r JOIN stock AS s ON s.sku = r.sku
"""

ORPHANS = LocalCheck(
    Check.ORPHANS,
    "SELECT count(*) FROM barrier",
    (
        Rule(
            "the stock step of {saga_id} was undone, but {quantity} of {sku} is still {state}",
            f"""
            SELECT r.* FROM ({_RESERVATIONS}) AS r
            JOIN barrier AS b ON b.saga_id = r.saga_id
                AND b.step = '{Step.RESERVE_STOCK}/' || r.sku_range AND b.op = 'undo'
            WHERE r.state <> 'released'
            """,
        ),
        Rule(
            "the stock step of {saga_id} was consumed, but {quantity} of {sku} is still {state}",
            f"""
            SELECT r.* FROM ({_RESERVATIONS}) AS r
            JOIN barrier AS b ON b.saga_id = r.saga_id
                AND b.step = '{Step.CONSUME_STOCK}/' || r.sku_range AND b.op = 'do'
            WHERE r.state <> 'consumed'
            """,
        ),
        Rule(
            "{saga_id} was undone, but its hold over {amount} on account {account_id} is {state}",
            """
            SELECT h.saga_id, h.step, h.account_id, a.currency, h.amount AS amount_minor, h.state FROM hold AS h
            JOIN barrier AS b ON b.saga_id = h.saga_id AND b.step = h.step AND b.op = 'undo'
            LEFT JOIN account AS a ON a.id = h.account_id
            WHERE h.state <> 'released'
            """,
        ),
        Rule(
            "{saga_id} was undone, but its order is {state}",
            f"""
            SELECT b.saga_id, o.id AS order_id, o.state FROM orders AS o
            JOIN barrier AS b ON b.saga_id = 'order/' || o.id AND b.step = '{Step.OPEN_ORDER}' AND b.op = 'undo'
            WHERE o.state NOT IN ('rejected', 'cancelled')
            """,
        ),
        _without_barrier(
            "order {order_id} ({state}) was opened without a barrier",
            "SELECT 'order/' || id AS saga_id, id AS order_id, state FROM orders",
            f"'{Step.OPEN_ORDER}'",
        ),
        _without_barrier(
            "{amount} of account {account_id} was held for {saga_id} without a barrier",
            """
            SELECT h.saga_id, h.step, h.account_id, a.currency, h.amount AS amount_minor, h.state
            FROM hold AS h LEFT JOIN account AS a ON a.id = h.account_id WHERE h.saga_id LIKE 'order/%'
            """,
            "effect.step",
        ),
        _without_barrier(
            "{quantity} of {sku} was reserved for {saga_id} without a barrier",
            _RESERVATIONS,
            f"'{Step.RESERVE_STOCK}/' || effect.sku_range",
        ),
        _without_barrier(
            "{quantity} of {sku} was consumed for {saga_id} without a barrier",
            f"SELECT r.* FROM ({_RESERVATIONS}) AS r WHERE r.state = 'consumed'",
            f"'{Step.CONSUME_STOCK}/' || effect.sku_range",
        ),
        _without_barrier(
            "a merchant was credited with the second leg of {saga_id} ({amount}) without a barrier",
            """
            SELECT saga_id, role, currency, amount AS amount_minor FROM clearing_leg
            WHERE role = 'second' AND saga_id LIKE 'order/%'
            """,
            f"'{Step.CREDIT_MERCHANT}'",
        ),
    ),
)
