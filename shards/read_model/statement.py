"""An account's statement, in pages: its movements from the newest on, each with the balance that it left behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.money import Money
from shards.accounts.statement import StatementLine
from shards.read_model.pages import Page, PageAfter, page_of
from shards.read_model.read_model import not_in_read_model

_BEFORE_THE_NEWEST = 2**63 - 1
# The balance after a line is the account's total less all newer lines: sums over the index alone, first of the lines
# newer than the page, then along the page.
_READ = text("""
    SELECT a.currency, a.stated, line.position, line.at, line.kind, line.saga_id, line.amount, line.other_side,
           CAST(a.stated - skipped.amount - coalesce(line.newer, 0) AS bigint) AS balance_after
    FROM live.account_details AS a
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(amount), 0) AS amount
        FROM live.statement_line WHERE account_id = a.id AND position >= :after
    ) AS skipped
    LEFT JOIN LATERAL (
        SELECT position, at, kind, saga_id, amount, other_side,
               sum(amount) OVER (ORDER BY position DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer
        FROM live.statement_line WHERE account_id = a.id AND position < :after ORDER BY position DESC LIMIT :limit
    ) AS line ON true
    WHERE a.id = :id ORDER BY line.position DESC
""")


@dataclass(frozen=True, slots=True)
class StatementPage:
    """`balance` is what the whole statement ends with now: the balance after its newest line."""

    account_id: str
    balance: Money
    lines: Page[StatementLine, int]


async def read_statement_page(connection: AsyncConnection, account_id: str, page: PageAfter[int]) -> StatementPage:
    """A page of a customer's or merchant's statement, continued from a position.

    `Refused` with `unknown_account` if the read model does not have the account, or not yet.
    """
    after = _BEFORE_THE_NEWEST if page.after is None else page.after
    parameters = {"id": account_id, "after": after, "limit": page.rows_read}
    rows = (await connection.execute(_READ, parameters)).all()
    if not rows:
        raise not_in_read_model("unknown_account", f"account {account_id}", f"account show {account_id}", "account_id")
    # An account without movements is one row without a line.
    found = page_of([row for row in rows if row.position is not None], page, lambda row: int(row.position))
    lines = Page(tuple(_line(row) for row in found.rows), found.next)
    return StatementPage(account_id, Money(rows[0].stated, rows[0].currency), lines)


def _line(row: Any) -> StatementLine:
    return StatementLine(
        row.at,
        row.kind,
        row.saga_id,
        Money(row.amount, row.currency),
        Money(row.balance_after, row.currency),
        row.other_side,
    )
