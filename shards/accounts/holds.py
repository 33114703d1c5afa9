"""Accounts and their holds. A hold sets money aside; only a movement moves it: see `ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from domain.accounts import AccountState, why_not_spend
from domain.money import Money
from domain.sagas import Refusal
from shards.accounts import ledger
from shards.connections.database_errors import IntegrityViolation
from shards.routing.shard_transaction import ShardTransaction

# FOR NO KEY UPDATE, like the updates that follow: an admission only needs the account to stay open, and does not wait
# for this lock.
_LOCK_ACCOUNTS = text("""
    SELECT id, kind, currency, state, posted - held + overdraft AS available FROM account
    WHERE id = ANY(:ids) AND kind IN ('customer', 'merchant') ORDER BY id FOR NO KEY UPDATE
""")
_PLACE_HOLD = text("""
    WITH placed AS (
        INSERT INTO hold (saga_id, step, account_id, amount, state)
        VALUES (:saga_id, :step, :account_id, CAST(:amount AS bigint), 'placed')
    )
    UPDATE account SET held = held + CAST(:amount AS bigint), version = version + 1
    WHERE id = :account_id RETURNING version
""")
_RELEASE_HELD = text("UPDATE account SET held = held - :amount, version = version + 1 WHERE id = :id RETURNING version")
_CLOSE_HOLD = text("""
    UPDATE hold SET state = :state WHERE saga_id = :saga_id AND step = :step AND state = 'placed'
    RETURNING account_id, amount
""")


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """An account whose row is locked until the transaction ends. `available` takes holds and overdraft into account."""

    account_id: str
    kind: str
    state: AccountState
    available: Money

    @property
    def currency(self) -> str:
        return self.available.currency


@dataclass(frozen=True, slots=True)
class ClosedHold:
    account_id: str
    account_version: int


async def lock_account(tx: ShardTransaction, account_id: str) -> LockedAccount | None:
    """Locks an account. None if no customer and no merchant has it."""
    return (await lock_accounts(tx, [account_id])).get(account_id)


async def lock_accounts(tx: ShardTransaction, account_ids: Sequence[str]) -> dict[str, LockedAccount]:
    """Locks those of these accounts that exist, always in the order of their ids."""
    rows = await tx.execute(_LOCK_ACCOUNTS, ids=list(account_ids))
    return {
        row.id: LockedAccount(row.id, row.kind, AccountState(row.state), Money(row.available, row.currency))
        for row in rows
    }


async def place_hold(
    tx: ShardTransaction, saga_id: str, step: str, account: LockedAccount, amount: Money
) -> Refusal | int | None:
    """Sets `amount` aside on the account. Returns the account's new version, or why it was refused.

    None for an amount of zero, which needs no hold. Undone by `release_hold`; ended by `capture_hold`. A hold
    never expires.
    """
    refusal = why_not_spend(account.account_id, account, amount)
    if refusal is not None:
        return refusal
    if amount.minor == 0:
        return None
    held = await tx.execute(_PLACE_HOLD, saga_id=saga_id, step=step, account_id=account.account_id, amount=amount.minor)
    return int(held.scalar_one())


async def release_hold(tx: ShardTransaction, saga_id: str, step: str) -> ClosedHold | None:
    """Gives the held money back to the account; None if no hold is placed. Cannot be undone."""
    hold = (await tx.execute(_CLOSE_HOLD, saga_id=saga_id, step=step, state="released")).one_or_none()
    if hold is None:
        return None
    version = (await tx.execute(_RELEASE_HELD, id=hold.account_id, amount=hold.amount)).scalar_one()
    return ClosedHold(hold.account_id, version)


async def capture_hold(tx: ShardTransaction, saga_id: str, step: str, amount: Money, peer: str) -> ClosedHold:
    """Turns the placed hold into entries: customer -amount, clearing +amount, with the `first` leg.

    A freeze does not stop it: what was promised is paid. Forward only.
    `IntegrityViolation` if the hold is missing or of another amount: no retry can mend that.
    """
    hold = (await tx.execute(_CLOSE_HOLD, saga_id=saga_id, step=step, state="captured")).one_or_none()
    if hold is None or hold.amount != amount.minor:
        raise IntegrityViolation(f"{saga_id}: expected a placed hold of {amount}, found {hold}")
    version = await ledger.capture(tx, saga_id, hold.account_id, amount, peer)
    return ClosedHold(hold.account_id, version)
