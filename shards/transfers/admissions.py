"""The target's side of a transfer across shards: its promise to accept, and the credit that keeps it.

The admission's row is the barrier of all steps here: every call takes it first, and its states only go forward.

| call | no row yet | open | credited | refused | withdrawn |
| --- | --- | --- | --- | --- | --- |
| admit | checks the account: open, or refused | admitted | admitted | the reason | `ALREADY_COMPENSATED` |
| credit | credits the account: the shard was restored | credits the account | done | damage | damage |
| withdraw | bars it for ever | withdrawn | damage | refused | withdrawn |
"""

from __future__ import annotations

from sqlalchemy import text

from domain.accounts import why_not_receive
from domain.events import AccountEvent
from domain.sagas import ALREADY_COMPENSATED, Reason, Refusal
from domain.transfers import Transfer
from shards.accounts import ledger
from shards.connections.database_errors import IntegrityViolation
from shards.routing.shard_transaction import ShardTransaction
from shards.transfers.transfer_row import append_account_event

_CLAIM = text("""
    INSERT INTO admission (saga_id, account_id, keyspace, slot, currency, amount, state)
    VALUES (:saga_id, :account_id, :keyspace, :slot, :currency, :amount, :state) ON CONFLICT DO NOTHING
""")
# Waits only for a transaction that freezes or closes the account, which in turn waits for this: see
# `shards.accounts.states`.
_LOOK_AT_ACCOUNT = text("""
    SELECT currency, state FROM account WHERE id = :id AND kind IN ('customer', 'merchant') FOR KEY SHARE
""")
_REFUSE = text("UPDATE admission SET state = 'refused', reason = :reason, detail = :detail WHERE saga_id = :saga_id")
_ADVANCE = text("UPDATE admission SET state = :state WHERE saga_id = :saga_id AND state = 'open'")
_READ = text("SELECT state, reason, detail, account_id, currency, amount FROM admission WHERE saga_id = :saga_id")


async def admit(tx: ShardTransaction, transfer: Transfer) -> Refusal | None:
    """Promises that the target will accept; or returns why not: unknown, not open, of another currency.

    From then on the account cannot close, and a freeze comes too late. Idempotent by saga id, refusals included. Undone
    by `withdraw`, kept by `credit`. A crash leaves all of it or nothing.
    """
    if not await _claim(tx, transfer, "open"):
        return await _stored_refusal(tx, transfer)
    account = (await tx.execute(_LOOK_AT_ACCOUNT, id=transfer.target)).one_or_none()
    refusal = why_not_receive(transfer.target, account, transfer.amount.currency)
    if refusal is not None:
        await tx.execute(_REFUSE, saga_id=transfer.saga_id, reason=refusal.reason, detail=refusal.detail)
    return refusal


async def credit(tx: ShardTransaction, transfer: Transfer) -> None:
    """clearing -amount, target +amount. Only after the decision to confirm; forward only, cannot be refused.

    Idempotent by saga id. The source only confirms after an admission, so if there is none, this shard was restored to
    a time before it. `IntegrityViolation` if it was refused or withdrawn: no retry can mend that.
    """
    if await _advance(tx, transfer, "credited") or await credit_unadmitted(tx, transfer):
        version = await ledger.credit(tx, transfer.saga_id, transfer.target, transfer.amount, peer=transfer.source)
        append_account_event(tx, transfer, transfer.target, version, AccountEvent.TRANSFER_RECEIVED)
        return
    state = await state_of(tx, transfer)
    if state != "credited":
        raise IntegrityViolation(f"{transfer.saga_id}: expected an open admission, found {state}")


async def withdraw(tx: ShardTransaction, transfer: Transfer) -> None:
    """Takes the promise back, or bars it from ever being given. Only after the decision to decline. Idempotent.

    Waits for any transaction that has written the same row, so a prepared one has to be rolled back first.
    `IntegrityViolation` if the target was credited.
    """
    if await _claim(tx, transfer, "withdrawn") or await _advance(tx, transfer, "withdrawn"):
        return
    state = await state_of(tx, transfer)
    if state == "credited":
        raise IntegrityViolation(f"{transfer.saga_id}: was declined, but account {transfer.target} was credited")


async def credit_unadmitted(tx: ShardTransaction, transfer: Transfer) -> bool:
    """Inserts the row as credited, for a protocol that needs no promise; False if the row is there already.

    The caller moves the money.
    """
    return await _claim(tx, transfer, "credited")


async def state_of(tx: ShardTransaction, transfer: Transfer) -> str | None:
    """None if the target's shard has no admission."""
    row = (await tx.execute(_READ, saga_id=transfer.saga_id)).one_or_none()
    return str(row.state) if row is not None else None


async def _stored_refusal(tx: ShardTransaction, transfer: Transfer) -> Refusal | None:
    row = (await tx.execute(_READ, saga_id=transfer.saga_id)).one()
    amount = transfer.amount
    if (row.account_id, row.currency, row.amount) != (transfer.target, amount.currency, amount.minor):
        # A batch admits before it takes the transfer's id: another batch or transfer uses this id too.
        return Refusal(Reason.ID_CONFLICT, f"{transfer.saga_id} is being admitted with other content")
    if row.state == "refused":
        return Refusal(Reason(row.reason), row.detail)
    return ALREADY_COMPENSATED if row.state == "withdrawn" else None


async def _claim(tx: ShardTransaction, transfer: Transfer, state: str) -> bool:
    claimed = await tx.execute(
        _CLAIM,
        saga_id=transfer.saga_id,
        account_id=transfer.target,
        keyspace=tx.route.keyspace,
        slot=tx.route.slot,
        currency=transfer.amount.currency,
        amount=transfer.amount.minor,
        state=state,
    )
    return claimed.rowcount == 1


async def _advance(tx: ShardTransaction, transfer: Transfer, state: str) -> bool:
    return (await tx.execute(_ADVANCE, saga_id=transfer.saga_id, state=state)).rowcount == 1
