"""An account as its owner sees it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import AccountState
from domain.errors import Refused
from domain.money import Money
from shards.routing import Router

# Clearing and equity are the shard's own, and keep no balance.
_READ = text("""
    SELECT id, currency, posted, held, overdraft, state,
        CASE state WHEN 'open' THEN posted - held + overdraft ELSE 0 END AS available
    FROM account WHERE id = :id AND kind IN ('customer', 'merchant')
""")


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """`available` is what a new order or transfer can take: the balance without what is held, and with the overdraft;
    nothing of an account that is frozen or closed.

    `overdraft` is how far below zero the balance may go.
    """

    account_id: str
    balance: Money
    held: Money
    overdraft: Money
    available: Money
    state: AccountState


async def read_account(router: Router, account_id: str) -> AccountBalance:
    """`read_balance` on the account's shard."""
    return await router.read(lambda m: m.of_account(account_id), lambda tx: read_balance(tx.connection, account_id))


async def read_balance(connection: AsyncConnection, account_id: str) -> AccountBalance:
    """A customer's or merchant's account. `Refused` for an unknown one."""
    row = (await connection.execute(_READ, {"id": account_id})).one_or_none()
    if row is None:
        raise unknown_account(account_id)
    return AccountBalance(
        row.id,
        Money(row.posted, row.currency),
        Money(row.held, row.currency),
        Money(row.overdraft, row.currency),
        Money(row.available, row.currency),
        AccountState(row.state),
    )


async def read_currency(connection: AsyncConnection, account_id: str) -> str | None:
    """None for an unknown account."""
    row = (await connection.execute(_READ, {"id": account_id})).one_or_none()
    return str(row.currency) if row is not None else None


def unknown_account(account_id: str) -> Refused:
    return Refused("unknown_account", f"there is no account {account_id}", "account_id")
