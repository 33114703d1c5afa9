"""A transfer's row on its source's shard: it keeps the id, is its own barrier, and is decided by compare-and-set.

Every call takes the row first, so duplicates queue up on it, and its states only go forward:

| call | no row yet | pending | confirmed | declined |
| --- | --- | --- | --- | --- |
| open | begins it | the row | the row | the row, with its reason |
| decide: confirm | declines it, for ever | captures the hold | confirmed | the reason |
| decide: decline | declines it, for ever | releases the hold | confirmed | the first reason |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import text

from domain.accounts import unknown_account, why_not_receive, why_not_spend
from domain.errors import TryAgain
from domain.events import AccountEvent, TransferEvent
from domain.money import Money
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from domain.steps import Step
from domain.transfers import Protocol, Transfer, TransferState
from domain.two_phase import gid_stem
from shards.accounts import holds, ledger
from shards.outbox.appending import append_event
from shards.routing.shard_transaction import ShardTransaction

HOLD_STEP = Step.OPEN_TRANSFER.barrier_step()

COLUMNS = """
    source, id, target, currency, amount, reference, content_hash, protocol, batch_id, state, reason, detail,
    version, created_at, decided_at
"""
_CLAIM = text("""
    INSERT INTO transfer (source, id, keyspace, slot, target, currency, amount, reference, content_hash, protocol,
                          gid_stem, state, reason, detail, decided_at)
    VALUES (:source, :id, :keyspace, :slot, :target, :currency, :amount, :reference, :content_hash, :protocol,
            :gid_stem, :state, :reason, :detail, CASE WHEN :state = 'pending' THEN NULL ELSE now() END)
    ON CONFLICT DO NOTHING
""")
_DECIDE = text("""
    UPDATE transfer SET state = :state, reason = :reason, detail = :detail, decided_at = now(), version = version + 1
    WHERE source = :source AND id = :id AND state = 'pending' RETURNING version
""")
_READ = text(f"SELECT {COLUMNS} FROM transfer WHERE source = :source AND id = :id")


@dataclass(frozen=True, slots=True)
class TransferRow:
    """`refusal` is set if it was declined. `protocol` is the one that it began with."""

    transfer: Transfer
    content_hash: str
    protocol: Protocol
    batch_id: str | None
    state: TransferState
    refusal: Refusal | None
    created_at: datetime
    decided_at: datetime | None

    @property
    def declined_at_once(self) -> bool:
        """Declined by the transaction that opened it: `now()` is constant within a transaction."""
        return self.state is TransferState.DECLINED and self.decided_at == self.created_at


async def open_transfer(tx: ShardTransaction, transfer: Transfer, protocol: Protocol) -> TransferRow | Refusal:
    """Takes the transfer's id for ever and begins it: `local` moves the money, `saga` holds it, `2pc` only writes the
    row.

    Returns the row as it is now, a refusal included; `id_conflict` if the id names another transfer, which changes
    nothing. Idempotent by source, id and content. A hold is undone by deciding to decline. For `local` the target's
    slot must be this shard's too: call `also_on`. A crash leaves all of it or nothing.
    """
    # Read first: an insert would wait for a prepared transaction that has written the row, and that one waits for us.
    found = await find(tx, transfer)
    if found is not None:
        return found
    if await _claim(tx, transfer, protocol, TransferState.PENDING):
        _append_transfer_event(
            tx,
            transfer,
            1,
            TransferEvent.OPENED,
            target=transfer.target,
            amount=str(transfer.amount),
            protocol=protocol,
        )
        if protocol is Protocol.LOCAL:
            await _move(tx, transfer)
        elif protocol is Protocol.SAGA:
            await _hold(tx, transfer)
    row = await find(tx, transfer)
    if row is None:
        raise TryAgain("the transfer's row was taken by another transaction, which rolled back")
    return row


async def _move(tx: ShardTransaction, transfer: Transfer) -> None:
    """Both accounts are here: one movement, no clearing, nothing in flight."""
    found = await holds.lock_accounts(tx, [transfer.source, transfer.target])
    source, target = found.get(transfer.source), found.get(transfer.target)
    refusal = why_not_spend(transfer.source, source, transfer.amount)
    if refusal is None:
        refusal = why_not_receive(transfer.target, target, transfer.amount.currency)
    if refusal is not None:
        await _decline(tx, transfer, refusal)
        return
    amount = transfer.amount
    sent, received = await ledger.move(tx, transfer.saga_id, transfer.source, transfer.target, amount)
    append_account_event(tx, transfer, transfer.source, sent, AccountEvent.TRANSFER_SENT)
    append_account_event(tx, transfer, transfer.target, received, AccountEvent.TRANSFER_RECEIVED)
    await _decide(tx, transfer, TransferState.CONFIRMED, None)


async def _hold(tx: ShardTransaction, transfer: Transfer) -> None:
    source = await holds.lock_account(tx, transfer.source)
    if source is None:
        await _decline(tx, transfer, unknown_account(transfer.source))
        return
    held = await holds.place_hold(tx, transfer.saga_id, HOLD_STEP, source, transfer.amount)
    if isinstance(held, Refusal):
        await _decline(tx, transfer, held)
    elif held is not None:
        append_account_event(tx, transfer, transfer.source, held, AccountEvent.TRANSFER_HELD)


async def decide(tx: ShardTransaction, transfer: Transfer, protocol: Protocol, refusal: Refusal | None) -> Decision:
    """The pivot: `pending -> confirmed` if `refusal` is None, else `pending -> declined`. The first call wins.

    Confirming captures the hold, declining releases it, in the same transaction. Every later call returns the first
    decision, whatever it asks for. A transfer without a row is declined and can never be opened any more. Idempotent,
    never undone. A crash leaves it undecided, or decided with all that belongs to it.
    """
    if refusal is None:
        if await _decide(tx, transfer, TransferState.CONFIRMED, None):
            captured = await holds.capture_hold(tx, transfer.saga_id, HOLD_STEP, transfer.amount, peer=transfer.target)
            append_account_event(tx, transfer, transfer.source, captured.account_version, AccountEvent.TRANSFER_SENT)
            return Decision(SagaOutcome.CONFIRMED)
    elif await _decline(tx, transfer, refusal):
        return Decision(SagaOutcome.ABORTING, refusal)
    row = await read(tx, transfer.source, transfer.transfer_id)
    if row is None:
        return await _never_open(tx, transfer, protocol, refusal or ALREADY_COMPENSATED)
    if row.state is TransferState.CONFIRMED:
        return Decision(SagaOutcome.CONFIRMED)
    if row.state is TransferState.PENDING:
        raise TryAgain("the transfer was opened just now")
    return Decision(SagaOutcome.ABORTING, row.refusal)


async def confirm_unheld(tx: ShardTransaction, transfer: Transfer) -> bool:
    """`pending -> confirmed` alone, for a protocol that moves the money otherwise; False if it is not pending."""
    return await _decide(tx, transfer, TransferState.CONFIRMED, None)


async def find(tx: ShardTransaction, transfer: Transfer) -> TransferRow | Refusal | None:
    """The row of this transfer; `id_conflict` if its id names another transfer, None if it names none."""
    row = await read(tx, transfer.source, transfer.transfer_id)
    if row is not None and row.content_hash != transfer.content_hash:
        what = f"transfer id {transfer.transfer_id} of account {transfer.source}"
        return Refusal(Reason.ID_CONFLICT, f"{what} already names a transfer with other content")
    return row


async def read(tx: ShardTransaction, source: str, transfer_id: str) -> TransferRow | None:
    row = (await tx.execute(_READ, source=source, id=transfer_id)).one_or_none()
    return transfer_of(row) if row is not None else None


def transfer_of(row: Any) -> TransferRow:
    """A row with `COLUMNS`."""
    return TransferRow(
        Transfer(row.id, row.source, row.target, Money(row.amount, row.currency), row.reference),
        row.content_hash,
        Protocol(row.protocol),
        row.batch_id,
        TransferState(row.state),
        Refusal(Reason(row.reason), row.detail) if row.reason else None,
        row.created_at,
        row.decided_at,
    )


def append_account_event(
    tx: ShardTransaction, transfer: Transfer, account_id: str, version: int, event: AccountEvent
) -> None:
    append_event(tx, transfer.saga_id, event, account_id, version, amount=str(transfer.amount))


async def _decline(tx: ShardTransaction, transfer: Transfer, refusal: Refusal) -> bool:
    """Declines, and releases the hold if there is one. False if the transfer is not pending."""
    if not await _decide(tx, transfer, TransferState.DECLINED, refusal):
        return False
    released = await holds.release_hold(tx, transfer.saga_id, HOLD_STEP)
    if released is not None:
        append_account_event(tx, transfer, transfer.source, released.account_version, AccountEvent.TRANSFER_RELEASED)
    return True


async def _never_open(tx: ShardTransaction, transfer: Transfer, protocol: Protocol, refusal: Refusal) -> Decision:
    if not await _claim(tx, transfer, protocol, TransferState.DECLINED, refusal):
        raise TryAgain("the transfer was opened just now")
    _append_transfer_event(tx, transfer, 1, TransferEvent.DECLINED, reason=refusal.reason)
    return Decision(SagaOutcome.ABORTING, refusal)


async def _decide(tx: ShardTransaction, transfer: Transfer, state: TransferState, refusal: Refusal | None) -> bool:
    decided = await tx.execute(
        _DECIDE,
        source=transfer.source,
        id=transfer.transfer_id,
        state=state,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else None,
    )
    version = decided.scalar_one_or_none()
    if version is None:
        return False
    reason = {"reason": refusal.reason} if refusal else {}
    event = TransferEvent.CONFIRMED if state is TransferState.CONFIRMED else TransferEvent.DECLINED
    _append_transfer_event(tx, transfer, version, event, **reason)
    return True


async def _claim(
    tx: ShardTransaction,
    transfer: Transfer,
    protocol: Protocol,
    state: TransferState,
    refusal: Refusal | None = None,
) -> bool:
    claimed = await tx.execute(
        _CLAIM,
        source=transfer.source,
        id=transfer.transfer_id,
        keyspace=tx.route.keyspace,
        slot=tx.route.slot,
        target=transfer.target,
        currency=transfer.amount.currency,
        amount=transfer.amount.minor,
        reference=transfer.reference,
        content_hash=transfer.content_hash,
        protocol=protocol,
        gid_stem=gid_stem(transfer.saga_id) if protocol is Protocol.TWO_PHASE else None,
        state=state,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else None,
    )
    return claimed.rowcount == 1


def _append_transfer_event(
    tx: ShardTransaction, transfer: Transfer, version: int, event: TransferEvent, **payload: Any
) -> None:
    aggregate_id = f"{transfer.source}/{transfer.transfer_id}"
    append_event(tx, transfer.saga_id, event, aggregate_id, version, **payload)
