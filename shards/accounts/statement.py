"""An account's statement: its movements, each with the balance that it left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.money import Amount, Money
from domain.timestamps import Timestamp
from shards.accounts.reads import unknown_account

# By movement id: in this order, too, money arrives before it is spent, so no impossible balance is shown. The balance
# is summed over all entries, whatever the limit; the joins are only for the lines that are shown.
_READ = text("""
    SELECT a.currency, a.posted, m.created_at, m.kind, m.saga_id, line.amount,
           CAST(line.balance AS bigint) AS balance, coalesce(leg.peer, other.account_id) AS other_side
    FROM account AS a
    LEFT JOIN LATERAL (
        SELECT movement_id, n, amount, sum(amount) OVER (ORDER BY movement_id, n) AS balance
        FROM entry WHERE account_id = a.id ORDER BY movement_id DESC, n DESC LIMIT :limit
    ) AS line ON true
    LEFT JOIN movement AS m ON m.id = line.movement_id
    LEFT JOIN clearing_leg AS leg ON leg.movement_id = line.movement_id
    LEFT JOIN LATERAL (
        SELECT account_id FROM entry WHERE movement_id = line.movement_id AND account_id <> a.id ORDER BY n LIMIT 1
    ) AS other ON true
    WHERE a.id = :id AND a.kind IN ('customer', 'merchant')
    ORDER BY line.movement_id DESC, line.n DESC
""")


@dataclass(frozen=True, slots=True)
class StatementLine:
    """`amount` is negative if money left. `other_side` is the account that it went to or came from, on any shard; for
    an opening balance it is the shard's equity account."""

    at: Timestamp
    kind: str
    saga_id: str
    amount: Amount
    balance_after: Amount
    other_side: str


@dataclass(frozen=True, slots=True)
class Statement:
    """`lines`: the newest first. `balance` is the account's present one, which is the first line's `balance_after`."""

    account_id: str
    balance: Money
    lines: tuple[StatementLine, ...]


async def read_statement(connection: AsyncConnection, account_id: str, limit: int) -> Statement:
    """The newest `limit` movements of a customer's or merchant's account. `Refused` for an unknown one.

    One statement, so one instant. Changes nothing.
    """
    rows = (await connection.execute(_READ, {"id": account_id, "limit": limit})).all()
    if not rows:
        raise unknown_account(account_id)
    # An account without movements is one row without a line.
    lines = tuple(_line(row) for row in rows if row.amount is not None)
    return Statement(account_id, Money(rows[0].posted, rows[0].currency), lines)


def _line(row: Any) -> StatementLine:
    return StatementLine(
        row.created_at,
        row.kind,
        row.saga_id,
        Money(row.amount, row.currency),
        Money(row.balance, row.currency),
        row.other_side,
    )
