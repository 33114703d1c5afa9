"""An account as its owner sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import AccountState
from domain.errors import NotFound
from domain.money import Amount, Money
from shards.routing.router import Reads
from shards.routing.shard_transaction import ShardTransaction

# Clearing and equity accounts belong to the shard itself and keep no balance.
_BALANCES = """
    SELECT id, currency, posted, held, overdraft, state,
        CASE state WHEN 'open' THEN posted - held + overdraft ELSE 0 END AS available
    FROM account WHERE kind IN ('customer', 'merchant')
"""
_READ = text(f"{_BALANCES} AND id = :id")
# In an order that is the same on all shards, whatever the collations of their databases.
_PAGE = text(f"""{_BALANCES} AND id COLLATE "C" > :after ORDER BY id COLLATE "C" LIMIT :limit""")
_SOME = text("SELECT id FROM account WHERE kind IN ('customer', 'merchant') ORDER BY id LIMIT :limit")


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """`available` is what a new order or transfer can spend: the balance less holds plus the overdraft; zero if the
    account is frozen or closed.

    `overdraft` is how far below zero the balance may go.
    """

    account_id: str
    currency: str
    balance: Amount
    held: Amount
    overdraft: Amount
    available: Amount
    state: AccountState
    shard: str


async def read_account(reads: Reads, account_id: str) -> AccountBalance:
    """Calls `read_balance` on the account's shard."""
    return await reads.read(lambda m: m.of_account(account_id), lambda tx: read_balance(tx, account_id))


async def read_balance(tx: ShardTransaction, account_id: str) -> AccountBalance:
    """A customer's or merchant's account. `NotFound` for an unknown one."""
    row = (await tx.execute(_READ, id=account_id)).one_or_none()
    if row is None:
        raise unknown_account(account_id)
    return _balance(row, tx.route.shard)


async def balances_after(connection: AsyncConnection, shard: str, after: str, limit: int) -> list[AccountBalance]:
    """At most `limit` accounts of this shard, customers' and merchants', in the order of their ids' bytes, from behind
    that of `after` on."""
    found = await connection.execute(_PAGE, {"after": after, "limit": limit})
    return [_balance(row, shard) for row in found]


async def read_currency(connection: AsyncConnection, account_id: str) -> str | None:
    """None for an unknown account."""
    row = (await connection.execute(_READ, {"id": account_id})).one_or_none()
    return str(row.currency) if row is not None else None


async def some_accounts(connection: AsyncConnection, limit: int) -> list[str]:
    """The first of this shard, customers' and merchants'. None where nobody has one."""
    return list((await connection.execute(_SOME, {"limit": limit})).scalars())


def _balance(row: Any, shard: str) -> AccountBalance:
    return AccountBalance(
        row.id,
        row.currency,
        Money(row.posted, row.currency),
        Money(row.held, row.currency),
        Money(row.overdraft, row.currency),
        Money(row.available, row.currency),
        AccountState(row.state),
        shard,
    )


def unknown_account(account_id: str) -> NotFound:
    return NotFound("unknown_account", f"there is no account {account_id}", "account_id")
