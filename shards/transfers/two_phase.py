"""Two-phase commit of a transfer across shards: what each of its two participants does, on its own server.

    prepare both ─▶ decide ─▶ commit the source, then the target   or   abort the source, then the target

**The commit point is `COMMIT PREPARED` on the source's shard**, whatever a coordinator remembers: it makes the source's
row confirmed, an abort declines it, and Postgres lets only one of them happen. The target follows the source's row.
Hence any number of coordinators may end one transfer at once: a restarted workflow, the sweep, an operator.

A prepared transaction survives a crash of its server and keeps its locks. Nothing here waits for such a lock longer
than its `lock_timeout`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.accounts import why_not_receive, why_not_spend
from domain.errors import TryAgain
from domain.events import AccountEvent
from domain.sagas import ALREADY_COMPENSATED, Reason, Refusal
from domain.shard_map import Route, ShardMap
from domain.transfers import Protocol, Transfer, TransferState
from domain.two_phase import Ended, Participant, ParticipantOutcome, Vote, gid_of
from shards.accounts import holds, ledger
from shards.connections.database_errors import IntegrityViolation, LockTimedOut, sqlstate
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction, translating_errors, write_on
from shards.transfers import admissions, transfer_row

# The effects wait for at most two row locks, the transfer's and the account's, which stays below `transaction_timeout`.
PREPARE_LOCK_TIMEOUT = "1500ms"
# A concurrent attempt prepares in less time. Then its locks must be rolled back, and waiting longer is no use.
MARKER_LOCK_TIMEOUT = "500ms"
MARKER_ROUNDS_MAX = 3

YES = Vote()
COMMITTED = Ended(ParticipantOutcome.COMMITTED)
VOTE_LOST = Refusal(Reason.COORDINATOR_LOST, "its prepared transaction was rolled back before it was committed")

_IS_PREPARED = text("SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE gid = :gid AND database = current_database())")


class SqlState(StrEnum):
    """Errors of COMMIT PREPARED and ROLLBACK PREPARED."""

    UNDEFINED_OBJECT = "42704"
    BUSY = "55000"


async def prepare(router: Router, transfer: Transfer, participant: Participant) -> Vote:
    """Writes, locks and prepares the participant's whole part. After a yes it can be committed at any time.

    A refusal by a rule is a vote too and leaves nothing. Idempotent: a prepared part is found by its gid, a committed
    one votes yes, an aborted one votes `ALREADY_COMPENSATED` or its reason. Undone by `abort`.

    A crash leaves the part prepared or not: the server rolls back what is not prepared, and the next attempt finds what
    is. Raises `LockTimedOut` if another transaction holds a lock that is needed.
    """
    gid = gid_of(transfer.saga_id, participant)
    effect = _debit if participant is Participant.SOURCE else _credit

    async def attempt(route: Route) -> Vote:
        with translating_errors(route.shard):
            async with router.cluster.primaries[route.shard].autocommit() as connection:
                # Checked first: an earlier attempt that prepared it holds the locks that this one would wait for.
                if await _is_prepared(connection, gid):
                    return YES
                await ledger.open_clearing(connection, transfer.amount.currency)
                await connection.exec_driver_sql("BEGIN")
                tx = ShardTransaction(connection, route)
                await _limit_lock_waits(tx, PREPARE_LOCK_TIMEOUT)
                vote = await effect(tx, transfer)
                await tx.finish()
                await connection.exec_driver_sql("ROLLBACK" if vote else f"PREPARE TRANSACTION '{gid}'")
                return vote or YES

    return await router.routed(_place_of(transfer, participant), attempt)


async def commit(router: Router, transfer: Transfer, participant: Participant) -> Ended:
    """Commits what is prepared: the source first, the target only once the source returned `COMMITTED`.

    Idempotent. The source returns `ABORTED` if another coordinator aborted it; then abort the target. The target cannot
    be refused any more: if its prepared transaction was lost, it is credited without one.

    A crash leaves the participant committed or still prepared, and the next call ends it. `IntegrityViolation` if the
    target was aborted although the source was not.
    """
    if await _end_prepared(router, transfer, participant, "COMMIT"):
        return COMMITTED
    # There is no prepared transaction: it was committed before, or rolled back. Only its row shows which.
    ended = await outcome_of(router, transfer, participant)
    if ended.outcome is ParticipantOutcome.COMMITTED:
        return ended
    if participant is Participant.TARGET:
        return await _credit_unprepared(router, transfer)
    return (
        ended if ended.outcome is ParticipantOutcome.ABORTED else await abort(router, transfer, participant, VOTE_LOST)
    )


async def abort(router: Router, transfer: Transfer, participant: Participant, refusal: Refusal) -> Ended:
    """Rolls back what is prepared and leaves a marker, so that no late PREPARE succeeds: the source's row declined for
    `refusal`, the target's admission withdrawn. The source first, the target only once the source returned `ABORTED`.

    Idempotent. The source returns `COMMITTED` if it was committed already; then commit the target.

    A crash leaves the participant still prepared, or rolled back without its marker: the next call ends it. If nobody
    calls again, a late PREPARE could succeed, and would be in doubt until the sweep finds it. `TryAgain` if it is
    prepared again and again; `IntegrityViolation` if the target is credited although the source was declined.
    """
    for _ in range(MARKER_ROUNDS_MAX):
        # First, because writing the marker would wait for the participant's own prepared transaction.
        await _end_prepared(router, transfer, participant, "ROLLBACK")
        try:
            return await _leave_marker(router, transfer, participant, refusal)
        except LockTimedOut:
            continue
    raise TryAgain(f"the {participant} of {transfer.saga_id} is being prepared over and over")


async def end(router: Router, transfer: Transfer, refusal: Refusal | None) -> Ended:
    """Commits both if `refusal` is None, else aborts both: the source, then the target according to the source's
    result.

    The source's outcome is the transfer's, and is returned. Idempotent. A crash leaves the target to the next call.
    """
    source = Participant.SOURCE
    ended = await (abort(router, transfer, source, refusal) if refusal else commit(router, transfer, source))
    if ended.is_committed:
        await commit(router, transfer, Participant.TARGET)
    else:
        await abort(router, transfer, Participant.TARGET, ended.refusal or refusal or ALREADY_COMPENSATED)
    return ended


async def outcome_of(router: Router, transfer: Transfer, participant: Participant) -> Ended:
    """The outcome according to the participant's own row. Only reads, and waits for no lock."""

    async def attempt(route: Route) -> Ended:
        with translating_errors(route.shard):
            async with router.cluster.shards[route.shard].phase_two.autocommit() as connection:
                tx = ShardTransaction(connection, route)
                return await (_source_outcome if participant is Participant.SOURCE else _target_outcome)(tx, transfer)

    return await router.routed(_place_of(transfer, participant), attempt)


# ── prepare ─────────────────────────────────────────────────────────────────────────────────────────────────


async def _debit(tx: ShardTransaction, transfer: Transfer) -> Vote | None:
    """None if the effect is written and can be prepared; a vote if there is nothing to prepare."""
    if not await transfer_row.confirm_unheld(tx, transfer):
        ended = await _source_outcome(tx, transfer)
        if ended.outcome is ParticipantOutcome.UNKNOWN:
            raise TryAgain("the transfer was opened just now")
        return _vote_of(ended)
    source = await holds.lock_account(tx, transfer.source)
    refusal = why_not_spend(transfer.source, source, transfer.amount)
    if refusal is not None:
        return Vote(refusal)
    version = await ledger.debit(tx, transfer.saga_id, transfer.source, transfer.amount, peer=transfer.target)
    transfer_row.append_account_event(tx, transfer, transfer.source, version, AccountEvent.TRANSFER_SENT)
    return None


async def _credit(tx: ShardTransaction, transfer: Transfer) -> Vote | None:
    if not await admissions.credit_unadmitted(tx, transfer):
        return _vote_of(await _target_outcome(tx, transfer))
    target = await holds.lock_account(tx, transfer.target)
    refusal = why_not_receive(transfer.target, target, transfer.amount.currency)
    if refusal is not None:
        return Vote(refusal)
    await _pay(tx, transfer)
    return None


async def _pay(tx: ShardTransaction, transfer: Transfer) -> None:
    version = await ledger.credit(tx, transfer.saga_id, transfer.target, transfer.amount, peer=transfer.source)
    transfer_row.append_account_event(tx, transfer, transfer.target, version, AccountEvent.TRANSFER_RECEIVED)


def _vote_of(ended: Ended) -> Vote:
    return YES if ended.is_committed else Vote(ended.refusal or ALREADY_COMPENSATED)


# ── commit and abort ────────────────────────────────────────────────────────────────────────────────────────


async def _end_prepared(router: Router, transfer: Transfer, participant: Participant, verb: str) -> bool:
    """`COMMIT` or `ROLLBACK` of what is prepared; False if there is no such transaction."""
    gid = gid_of(transfer.saga_id, participant)

    async def attempt(route: Route) -> bool:
        return await end_prepared(router, route.shard, gid, verb)

    return await router.routed(_place_of(transfer, participant), attempt)


async def end_prepared(router: Router, shard: str, gid: str, verb: str) -> bool:
    """`COMMIT` or `ROLLBACK` of one prepared transaction, in the database where it was prepared.

    False if there is none of this name; `TryAgain` if another session is ending it. A crash leaves it ended or
    prepared.
    """
    with translating_errors(shard):
        async with router.cluster.shards[shard].phase_two.autocommit() as connection:
            # Mostly there is nothing to roll back, and the server would log each attempt as an error.
            if verb == "ROLLBACK" and not await _is_prepared(connection, gid):
                return False
            try:
                await connection.exec_driver_sql(f"{verb} PREPARED '{gid}'")
            except DBAPIError as error:
                match sqlstate(error):
                    case SqlState.UNDEFINED_OBJECT:
                        return False
                    case SqlState.BUSY:
                        raise TryAgain(f"somebody else is ending {gid} at this moment") from None
                    case _:
                        raise
    router.cluster.shards[shard].notifier.notify()
    return True


async def _leave_marker(router: Router, transfer: Transfer, participant: Participant, refusal: Refusal) -> Ended:
    async def decline(tx: ShardTransaction) -> Ended:
        decision = await transfer_row.decide(tx, transfer, Protocol.TWO_PHASE, refusal)
        return COMMITTED if decision.is_confirmed else Ended(ParticipantOutcome.ABORTED, decision.refusal)

    async def withdraw(tx: ShardTransaction) -> Ended:
        await admissions.withdraw(tx, transfer)
        return Ended(ParticipantOutcome.ABORTED, refusal)

    return await _write(router, transfer, participant, decline if participant is Participant.SOURCE else withdraw)


async def _credit_unprepared(router: Router, transfer: Transfer) -> Ended:
    """The source has paid and the target's prepared transaction is gone: somebody ended it by hand. Credits without
    it."""
    source = await outcome_of(router, transfer, Participant.SOURCE)
    if not source.is_committed:
        raise IntegrityViolation(f"{transfer.saga_id}: the target was to be committed, but the source is not")

    async def credit(tx: ShardTransaction) -> Ended:
        if await admissions.credit_unadmitted(tx, transfer):
            await _pay(tx, transfer)
        elif (state := await admissions.state_of(tx, transfer)) != "credited":
            raise IntegrityViolation(f"{transfer.saga_id}: was confirmed, but its admission is {state}")
        return COMMITTED

    return await _write(router, transfer, Participant.TARGET, credit)


async def _write(
    router: Router,
    transfer: Transfer,
    participant: Participant,
    work: Callable[[ShardTransaction], Awaitable[Ended]],
) -> Ended:
    """An ordinary write, but like all of phase two through the pool that no prepare uses."""

    async def attempt(route: Route) -> Ended:
        shard = router.cluster.shards[route.shard]
        async with write_on(shard, route, shard.phase_two) as tx:
            await _limit_lock_waits(tx, MARKER_LOCK_TIMEOUT)
            return await work(tx)

    return await router.routed(_place_of(transfer, participant), attempt)


# ── shared helpers ──────────────────────────────────────────────────────────────────────────────────────────


def _place_of(transfer: Transfer, participant: Participant) -> Callable[[ShardMap], Route]:
    account_id = transfer.source if participant is Participant.SOURCE else transfer.target
    return lambda shard_map: shard_map.of_account(account_id)


async def _source_outcome(tx: ShardTransaction, transfer: Transfer) -> Ended:
    row = await transfer_row.read(tx, transfer.source, transfer.transfer_id)
    match row.state if row is not None else None:
        case TransferState.CONFIRMED:
            return COMMITTED
        case TransferState.DECLINED if row is not None:
            return Ended(ParticipantOutcome.ABORTED, row.refusal)
        case _:
            return Ended(ParticipantOutcome.UNKNOWN)


async def _target_outcome(tx: ShardTransaction, transfer: Transfer) -> Ended:
    match await admissions.state_of(tx, transfer):
        case "credited":
            return COMMITTED
        case None:
            return Ended(ParticipantOutcome.UNKNOWN)
        case _:
            return Ended(ParticipantOutcome.ABORTED)


async def _is_prepared(connection: AsyncConnection, gid: str) -> bool:
    return bool(await connection.scalar(_IS_PREPARED, {"gid": gid}))


async def _limit_lock_waits(tx: ShardTransaction, timeout: str) -> None:
    await tx.connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{timeout}'")
