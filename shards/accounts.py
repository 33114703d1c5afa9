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
    SELECT currency, state, posted - held + overdraft AS available FROM account
    WHERE id = :id AND kind = 'customer' FOR UPDATE
""")
_ADD_HELD = text("UPDATE account SET held = held + :amount, version = version + 1 WHERE id = :id RETURNING version")
_PLACE_HOLD = text("""
    INSERT INTO hold (saga_id, step, account_id, amount, state)
    VALUES (:saga_id, :step, :account_id, :amount, 'placed')
""")
_CLOSE_HOLD = text("""
    UPDATE hold SET state = :state WHERE saga_id = :saga_id AND step = :step AND state = 'placed'
    RETURNING account_id, amount
""")
_POST = text("""
    UPDATE account SET posted = posted + :amount, held = held - :held, version = version + 1
    WHERE id = :id RETURNING version
""")
_OPEN_SYSTEM_ACCOUNT = text("""
    INSERT INTO account (id, kind, currency) VALUES (:id, :kind, :currency) ON CONFLICT DO NOTHING
""")
_MOVE = text("""
    WITH moved AS (
        INSERT INTO movement (saga_id, kind, currency) VALUES (:saga_id, :kind, :currency) RETURNING id
    ), entries AS (
        INSERT INTO entry (movement_id, n, account_id, currency, amount)
        SELECT moved.id, e.n, e.account_id, :currency, e.amount
        FROM moved, (VALUES (1, CAST(:debit AS text), -CAST(:amount AS bigint)),
                            (2, CAST(:credit AS text), CAST(:amount AS bigint))) AS e (n, account_id, amount)
    )
    SELECT id FROM moved
""")
_ADD_LEG = text("""
    INSERT INTO clearing_leg (saga_id, role, currency, amount, peer, movement_id)
    VALUES (:saga_id, :role, :currency, :amount, :peer, :movement_id)
""")


@dataclass(frozen=True, slots=True)
class ClosedHold:
    account_id: str
    account_version: int


async def place_hold(
    tx: ShardTransaction, saga_id: str, step: str, account_id: str, amount: Money
) -> Refusal | int | None:
    """Sets `amount` aside on the customer's account: the account's new version, or why not.

    None for an amount of zero, which needs no hold. Undone by `release_hold`; ended by `capture_hold`. A hold
    never expires. The account must exist.
    """
    account = (await tx.execute(_LOCK_ACCOUNT, id=account_id)).one()
    if account.currency != amount.currency:
        return Refusal(
            Reason.CURRENCY_MISMATCH, f"account {account_id} is in {account.currency}, the order in {amount.currency}"
        )
    if account.state != "open":
        return Refusal(Reason.ACCOUNT_NOT_OPEN, f"account {account_id} is {account.state}")
    available = Money(account.available, account.currency)
    if available < amount:
        return Refusal(Reason.INSUFFICIENT_FUNDS, f"{amount} wanted, {available} available on account {account_id}")
    if amount.minor == 0:
        return None
    await tx.execute(_PLACE_HOLD, saga_id=saga_id, step=step, account_id=account_id, amount=amount.minor)
    return int((await tx.execute(_ADD_HELD, id=account_id, amount=amount.minor)).scalar_one())


async def release_hold(tx: ShardTransaction, saga_id: str, step: str) -> ClosedHold | None:
    """Gives the held money back to the account; None where no hold is placed. Cannot be undone."""
    hold = (await tx.execute(_CLOSE_HOLD, saga_id=saga_id, step=step, state="released")).one_or_none()
    if hold is None:
        return None
    version = (await tx.execute(_ADD_HELD, id=hold.account_id, amount=-hold.amount)).scalar_one()
    return ClosedHold(hold.account_id, version)


async def capture_hold(tx: ShardTransaction, saga_id: str, step: str, amount: Money, peer: str) -> ClosedHold:
    """Turns the placed hold into entries: customer -amount, clearing +amount, with the `first` leg.

    A freeze does not stop it: what was promised is paid. Forward only.
    `IntegrityViolation` where the hold is missing or of another amount: no retry can mend that.
    """
    hold = (await tx.execute(_CLOSE_HOLD, saga_id=saga_id, step=step, state="captured")).one_or_none()
    if hold is None or hold.amount != amount.minor:
        raise IntegrityViolation(f"{saga_id}: expected a placed hold of {amount}, found {hold}")
    await _open_clearing(tx, amount.currency)
    clearing = clearing_account_id(amount.currency)
    movement = await move(tx, saga_id, "capture", debit=hold.account_id, credit=clearing, amount=amount)
    await _add_leg(tx, saga_id, "first", amount, peer, movement)
    version = (await tx.execute(_POST, id=hold.account_id, amount=-amount.minor, held=amount.minor)).scalar_one()
    return ClosedHold(hold.account_id, version)


async def credit_from_clearing(tx: ShardTransaction, saga_id: str, account_id: str, amount: Money, peer: str) -> int:
    """clearing -amount, account +amount, with the `second` leg; the account's new version.

    Forward only, and cannot be refused: a merchant's account always accepts. Raises `StaleRoute` where the
    account is not here, so that the step looks for it again.
    """
    await _open_clearing(tx, amount.currency)
    version = (await tx.execute(_POST, id=account_id, amount=amount.minor, held=0)).scalar_one_or_none()
    if version is None:
        raise StaleRoute(f"account {account_id} is not on {tx.route.shard}")
    clearing = clearing_account_id(amount.currency)
    movement = await move(tx, saga_id, "credit", debit=clearing, credit=account_id, amount=amount)
    await _add_leg(tx, saga_id, "second", -amount, peer, movement)
    return int(version)


async def move(tx: ShardTransaction, saga_id: str, kind: str, debit: str, credit: str, amount: Money) -> int:
    """Writes one movement of two entries and answers its id. Balances of the accounts are the caller's to post.

    (saga id, kind) is unique: a second movement of the same kind is a constraint error.
    """
    moved = await tx.execute(
        _MOVE,
        saga_id=saga_id,
        kind=kind,
        currency=amount.currency,
        debit=debit,
        credit=credit,
        amount=amount.minor,
    )
    return int(moved.scalar_one())


async def _open_clearing(tx: ShardTransaction, currency: str) -> None:
    await tx.execute(_OPEN_SYSTEM_ACCOUNT, id=clearing_account_id(currency), kind="clearing", currency=currency)


async def _add_leg(tx: ShardTransaction, saga_id: str, role: str, amount: Money, peer: str, movement: int) -> None:
    await tx.execute(
        _ADD_LEG,
        saga_id=saga_id,
        role=role,
        currency=amount.currency,
        amount=amount.minor,
        peer=peer,
        movement_id=movement,
    )
