"""Accounts, holds and the double-entry ledger of one shard.

A hold sets money aside; only an entry moves it. Money for another account always leaves through clearing:
capture = customer -X, clearing +X; credit = clearing -X, merchant +X, also where both lie on the same shard.
So each shard balances at every instant, and the two clearing legs tell what is in flight.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text

from domain.errors import StaleRoute
from domain.identifiers import clearing_account_id
from domain.money import Money
from domain.sagas import Reason, Refusal
from shards.integrity import IntegrityViolation
from shards.routing import ShardTransaction

_LOCK_ACCOUNT = text("""
    SELECT id, currency, state, posted - held + overdraft AS available FROM account
    WHERE id = :id AND kind = 'customer' FOR UPDATE
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
_POST = text("""
    UPDATE account SET posted = posted + :amount, held = held - :held, version = version + 1
    WHERE id = :id RETURNING version
""")
# The clearing account is opened by the first movement that needs it; foreign keys are checked when the statement ends.
_MOVE_THROUGH_CLEARING = text("""
    WITH opened AS (
        INSERT INTO account (id, kind, currency) VALUES (:clearing, 'clearing', :currency) ON CONFLICT DO NOTHING
    ), moved AS (
        INSERT INTO movement (saga_id, kind, currency) VALUES (:saga_id, :kind, :currency) RETURNING id
    ), entries AS (
        INSERT INTO entry (movement_id, n, account_id, currency, amount)
        SELECT moved.id, line.n, line.account_id, :currency, line.amount
        FROM moved, (VALUES (1, CAST(:account_id AS text), -CAST(:to_clearing AS bigint)),
                            (2, CAST(:clearing AS text), CAST(:to_clearing AS bigint))) AS line (n, account_id, amount)
    )
    INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)
    SELECT :saga_id, :role, :currency, CAST(:to_clearing AS bigint), :peer, moved.id FROM moved
""")


@dataclass(frozen=True, slots=True)
class LockedAccount:
    """A customer's account, its row locked until the transaction ends. `available` counts holds and overdraft."""

    account_id: str
    state: str
    available: Money


@dataclass(frozen=True, slots=True)
class ClosedHold:
    account_id: str
    account_version: int


async def lock(tx: ShardTransaction, account_id: str) -> LockedAccount | None:
    """None where no customer has this account."""
    row = (await tx.execute(_LOCK_ACCOUNT, id=account_id)).one_or_none()
    return LockedAccount(row.id, row.state, Money(row.available, row.currency)) if row is not None else None


async def place_hold(
    tx: ShardTransaction, saga_id: str, step: str, account: LockedAccount, amount: Money
) -> Refusal | int | None:
    """Sets `amount` aside on the customer's account: the account's new version, or why not.

    None for an amount of zero, which needs no hold. Undone by `release_hold`; ended by `capture_hold`. A hold
    never expires.
    """
    name, available = account.account_id, account.available
    if available.currency != amount.currency:
        detail = f"account {name} is in {available.currency}, the order in {amount.currency}"
        return Refusal(Reason.CURRENCY_MISMATCH, detail)
    if account.state != "open":
        return Refusal(Reason.ACCOUNT_NOT_OPEN, f"account {name} is {account.state}")
    if available < amount:
        return Refusal(Reason.INSUFFICIENT_FUNDS, f"{amount} wanted, {available} available on account {name}")
    if amount.minor == 0:
        return None
    held = await tx.execute(_PLACE_HOLD, saga_id=saga_id, step=step, account_id=name, amount=amount.minor)
    return int(held.scalar_one())


async def release_hold(tx: ShardTransaction, saga_id: str, step: str) -> ClosedHold | None:
    """Gives the held money back to the account; None where no hold is placed. Cannot be undone."""
    hold = (await tx.execute(_CLOSE_HOLD, saga_id=saga_id, step=step, state="released")).one_or_none()
    if hold is None:
        return None
    version = (await tx.execute(_RELEASE_HELD, id=hold.account_id, amount=hold.amount)).scalar_one()
    return ClosedHold(hold.account_id, version)


async def capture_hold(tx: ShardTransaction, saga_id: str, step: str, amount: Money, peer: str) -> ClosedHold:
    """Turns the placed hold into entries: customer -amount, clearing +amount, with the `first` leg.

    A freeze does not stop it: what was promised is paid. Forward only.
    `IntegrityViolation` where the hold is missing or of another amount: no retry can mend that.
    """
    hold = (await tx.execute(_CLOSE_HOLD, saga_id=saga_id, step=step, state="captured")).one_or_none()
    if hold is None or hold.amount != amount.minor:
        raise IntegrityViolation(f"{saga_id}: expected a placed hold of {amount}, found {hold}")
    await _move_through_clearing(tx, saga_id, "capture", "first", hold.account_id, amount, peer)
    version = (await tx.execute(_POST, id=hold.account_id, amount=-amount.minor, held=amount.minor)).scalar_one()
    return ClosedHold(hold.account_id, version)


async def credit_from_clearing(tx: ShardTransaction, saga_id: str, account_id: str, amount: Money, peer: str) -> int:
    """clearing -amount, account +amount, with the `second` leg; the account's new version.

    Forward only, and cannot be refused: a merchant's account always accepts. Raises `StaleRoute` where the
    account is not here, so that the step looks for it again.
    """
    version = (await tx.execute(_POST, id=account_id, amount=amount.minor, held=0)).scalar_one_or_none()
    if version is None:
        raise StaleRoute(f"account {account_id} is not on {tx.route.shard}")
    await _move_through_clearing(tx, saga_id, "credit", "second", account_id, -amount, peer)
    return int(version)


async def _move_through_clearing(
    tx: ShardTransaction, saga_id: str, kind: str, role: str, account_id: str, to_clearing: Money, peer: str
) -> None:
    """One movement of two entries between the account and clearing, with its leg. Posting is the caller's.

    (saga id, kind) is unique: a second movement of the same kind is a constraint error.
    """
    await tx.execute(
        _MOVE_THROUGH_CLEARING,
        saga_id=saga_id,
        kind=kind,
        role=role,
        account_id=account_id,
        clearing=clearing_account_id(to_clearing.currency),
        currency=to_clearing.currency,
        to_clearing=to_clearing.minor,
        peer=peer,
    )
