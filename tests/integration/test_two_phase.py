"""The phases of a two-phase commit on real shards: votes, outcomes, and every order in which they can be called."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.catalogue import Customer
from domain.errors import TryAgain
from domain.money import Money
from domain.sagas import Reason, Refusal
from domain.transfers import Transfer, TransferState
from domain.two_phase import Participant, ParticipantOutcome
from shards.catalogue.imports import import_customers
from shards.connections.database import Database
from shards.connections.database_errors import IntegrityViolation, LockTimedOut
from shards.transfers import two_phase
from stack.embedded.waiting import attempts
from stack.settings import Databases
from tests.support.two_phase import (
    BOTH,
    SOURCE,
    TARGET,
    TransferByHand,
    clearing_opened,
    new_transfer,
    nothing_left_prepared,
)
from tests.support.world import World

_numbers = itertools.count(1)

# Of the shared world.
POOL_SIZE = 8

NO_VOTE = Refusal(Reason.NO_VOTE, "somebody did not vote")
CANCELLED = Refusal(Reason.CANCELLED, "changed their mind")


@pytest.fixture(autouse=True)
async def nothing_left(world: World) -> AsyncIterator[None]:
    async with nothing_left_prepared(world.cluster):
        yield
    assert await world.violations() == []


# ── votes ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_transfer_that_both_voted_for_is_committed_on_both(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    assert await transfer.prepared() == [SOURCE, TARGET]
    assert (await transfer.money(), await transfer.states()) == ((100_00, 0), ("pending", None))

    for participant in BOTH:
        assert (await transfer.commit(participant)).outcome is ParticipantOutcome.COMMITTED
    assert await transfer.prepared() == []
    assert (await transfer.money(), await transfer.states()) == ((70_00, 30_00), ("confirmed", "credited"))
    assert await transfer.legs() == [("first", 30_00), ("second", -30_00)]
    events = "SELECT kind FROM outbox WHERE saga_id = :saga ORDER BY id"
    kinds = [kind for (kind,) in await world.everywhere(events, saga=transfer.transfer.saga_id)]
    assert kinds == ["TransferOpened", "TransferConfirmed", "TransferSent", "TransferReceived"]


async def test_a_refusal_by_a_rule_is_a_vote_and_leaves_nothing(world: World) -> None:
    poor = await new_transfer(world, balance="10.00")
    vote = await poor.prepare(SOURCE)
    assert vote.refusal is not None
    assert vote.refusal.reason is Reason.INSUFFICIENT_FUNDS

    nobody = await new_transfer(
        world, target="nobody-at-all", shards=("shard-1", await _shard_of(world, "nobody-at-all"))
    )
    vote = await nobody.prepare(TARGET)
    assert vote.refusal is not None
    assert vote.refusal.reason is Reason.UNKNOWN_ACCOUNT

    euro = await world.customer("0.00", "EUR", "shard-2")
    foreign = await new_transfer(world, target=euro)
    vote = await foreign.prepare(TARGET)
    assert vote.refusal is not None
    assert vote.refusal.reason is Reason.CURRENCY_MISMATCH

    frozen = await new_transfer(world)
    await world.rows("shard-2", "UPDATE account SET state = 'frozen' WHERE id = :id", id=frozen.transfer.target)
    vote = await frozen.prepare(TARGET)
    assert vote.refusal is not None
    assert vote.refusal.reason is Reason.ACCOUNT_NOT_OPEN

    for transfer in (poor, nobody, foreign, frozen):
        assert (await transfer.prepared(), await transfer.states()) == ([], ("pending", None))


async def _shard_of(world: World, account_id: str) -> str:
    return (await world.router.map()).of_account(account_id).shard


@pytest.mark.parametrize("participant", BOTH)
async def test_a_retried_prepare_finds_its_own_and_does_not_wait_for_it(world: World, participant: Participant) -> None:
    transfer = await new_transfer(world)
    first = await transfer.prepare(participant)
    # Its locks are kept: an attempt that did not look first would run into its lock_timeout.
    async with asyncio.timeout(1):
        assert await transfer.prepare(participant) == first
    assert await transfer.prepared() == [participant]


@pytest.mark.parametrize("participant", BOTH)
async def test_a_prepare_after_the_abort_votes_no(world: World, participant: Participant) -> None:
    transfer = await new_transfer(world)
    for each in BOTH:
        assert (await transfer.abort(each, CANCELLED)).outcome is ParticipantOutcome.ABORTED
    vote = await transfer.prepare(participant)
    assert vote.refusal is not None
    assert vote.refusal.reason is (Reason.CANCELLED if participant is SOURCE else Reason.ALREADY_COMPENSATED)
    assert (await transfer.prepared(), await transfer.states()) == ([], ("declined", "withdrawn"))


@pytest.mark.parametrize("participant", BOTH)
async def test_a_prepare_after_the_commit_votes_yes_and_prepares_nothing(
    world: World, participant: Participant
) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    for each in BOTH:
        await transfer.commit(each)
    assert (await transfer.prepare(participant)).is_yes
    assert (await transfer.prepared(), await transfer.money()) == ([], (70_00, 30_00))


async def test_opening_a_transfer_that_is_in_doubt_does_not_wait(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    # A workflow that is started again begins with this, and is the one that has to end what is prepared.
    async with asyncio.timeout(1):
        assert await transfer.open() is TransferState.PENDING


async def test_a_source_that_was_never_opened_is_not_prepared(world: World) -> None:
    transfer = await new_transfer(world, opened=False)
    with pytest.raises(TryAgain):
        await transfer.prepare(SOURCE)
    assert await transfer.prepared() == []


# ── outcomes ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_repeated_commit_returns_the_same(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    for participant in (SOURCE, SOURCE, TARGET, TARGET, SOURCE):
        assert (await transfer.commit(participant)).outcome is ParticipantOutcome.COMMITTED
    assert await transfer.money() == (70_00, 30_00)


async def test_does_not_exist_can_mean_committed(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    for participant in BOTH:
        await transfer.by_hand(participant, "COMMIT")
        assert (await transfer.commit(participant)).outcome is ParticipantOutcome.COMMITTED
    assert await transfer.money() == (70_00, 30_00)


async def test_does_not_exist_can_mean_rolled_back(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    await transfer.by_hand(SOURCE, "ROLLBACK")
    ended = await transfer.commit(SOURCE)
    assert ended.outcome is ParticipantOutcome.ABORTED
    assert ended.refusal is not None
    assert ended.refusal.reason is Reason.COORDINATOR_LOST
    assert (await transfer.abort(TARGET, ended.refusal)).outcome is ParticipantOutcome.ABORTED
    assert (await transfer.states(), await transfer.money()) == (("declined", "withdrawn"), (100_00, 0))


async def test_a_target_that_was_rolled_back_by_hand_is_credited_all_the_same(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    await transfer.commit(SOURCE)
    await transfer.by_hand(TARGET, "ROLLBACK")
    # The source's payment stands, whatever happened to the target meanwhile.
    await world.rows("shard-2", "UPDATE account SET state = 'frozen' WHERE id = :id", id=transfer.transfer.target)
    for _ in range(2):
        assert (await transfer.commit(TARGET)).outcome is ParticipantOutcome.COMMITTED
    assert (await transfer.states(), await transfer.money()) == (("confirmed", "credited"), (70_00, 30_00))


async def test_the_target_follows_the_source_and_is_never_credited_before(world: World) -> None:
    transfer = await new_transfer(world)
    assert (await transfer.prepare(SOURCE)).is_yes
    with pytest.raises(IntegrityViolation, match="the source is not"):
        await transfer.commit(TARGET)
    assert await transfer.states() == ("pending", None)


async def test_an_abort_that_comes_after_the_commit_returns_committed(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    await transfer.commit(SOURCE)
    assert (await transfer.abort(SOURCE, CANCELLED)).outcome is ParticipantOutcome.COMMITTED
    await transfer.commit(TARGET)
    with pytest.raises(IntegrityViolation, match="was credited"):
        await transfer.abort(TARGET, CANCELLED)


@pytest.mark.parametrize("rounds", range(5))
async def test_of_a_commit_and_an_abort_at_once_one_wins_everywhere(world: World, rounds: int) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()

    async def coordinator(refusal: Refusal | None) -> ParticipantOutcome:
        while True:  # As Temporal retries an activity.
            try:
                source = await (transfer.abort(SOURCE, refusal) if refusal else transfer.commit(SOURCE))
                if source.is_committed:
                    await transfer.commit(TARGET)
                else:
                    await transfer.abort(TARGET, source.refusal or NO_VOTE)
            except TryAgain:
                continue
            return source.outcome

    outcomes = await asyncio.gather(*(coordinator(each) for each in (None, CANCELLED, None, NO_VOTE)))
    assert len(set(outcomes)) == 1
    expected = {
        ParticipantOutcome.COMMITTED: (("confirmed", "credited"), (70_00, 30_00)),
        ParticipantOutcome.ABORTED: (("declined", "withdrawn"), (100_00, 0)),
    }
    assert (await transfer.states(), await transfer.money()) == expected[outcomes[0]]
    assert await transfer.prepared() == []


@pytest.mark.parametrize("participant", BOTH)
async def test_a_marker_waits_for_its_own_prepared_transaction_so_that_goes_first(
    world: World, participant: Participant
) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    with pytest.raises(LockTimedOut):
        await two_phase._leave_marker(world.router, transfer.transfer, participant, CANCELLED)
    assert (await transfer.abort(participant, CANCELLED)).outcome is ParticipantOutcome.ABORTED
    assert participant not in await transfer.prepared()


async def test_an_attempt_that_prepares_while_it_is_aborted_loses(world: World) -> None:
    transfer = await new_transfer(world)
    shard = world.cluster.primaries["shard-2"]
    async with shard.autocommit() as zombie:
        await zombie.exec_driver_sql("BEGIN")
        await zombie.exec_driver_sql(
            "INSERT INTO admission (saga_id, account_id, keyspace, slot, currency, amount, state) VALUES "
            f"('{transfer.transfer.saga_id}', '{transfer.transfer.target}', 'bucket', '1', 'USD', 3000, 'credited')"
        )
        aborting = asyncio.create_task(transfer.abort(TARGET, CANCELLED))
        await world.until_waiting("shard-2")
        await zombie.exec_driver_sql(f"PREPARE TRANSACTION '{transfer.gid(TARGET)}'")
    assert (await aborting).outcome is ParticipantOutcome.ABORTED
    assert (await transfer.prepared(), await transfer.states()) == ([], ("pending", "withdrawn"))


async def test_a_name_that_would_be_too_long_is_hashed_and_found(world: World) -> None:
    # As long as ids may be.
    source = "s" * 100
    shard = await _shard_of(world, source)
    await import_customers(world.router, [Customer(source, "Long", None, Money.parse("100.00", "USD"))])
    other = next(each for each in world.cluster.primaries if each != shard)
    target = await world.customer("0.00", shard=other)
    transfer = TransferByHand(
        world, Transfer("t" * 100, source, target, Money(30_00, "USD")), {SOURCE: shard, TARGET: other}
    )
    await transfer.open()
    assert all(transfer.gid(each).startswith("shardwise:hash/") for each in BOTH)
    await transfer.prepare_both()
    assert await transfer.prepared() == [SOURCE, TARGET]
    for participant in BOTH:
        assert (await transfer.commit(participant)).outcome is ParticipantOutcome.COMMITTED
    assert await transfer.money() == (70_00, 30_00)


# ── what Postgres does with prepared transactions ───────────────────────────────────────────────────────────


async def test_prepared_in_opposite_order_they_wait_for_each_other_and_postgres_does_not_see_it(world: World) -> None:
    there = await new_transfer(world)
    back = await _back(world, there)
    # Each source first, as if in parallel. Beyond deadlock_timeout (1 s) there still is no deadlock to be found.
    assert (await there.prepare(SOURCE)).is_yes
    assert (await back.prepare(SOURCE)).is_yes
    for answer in await asyncio.gather(there.prepare(TARGET), back.prepare(TARGET), return_exceptions=True):
        assert isinstance(answer, LockTimedOut)


async def test_prepared_in_the_order_of_their_shards_one_waits_for_the_other(world: World) -> None:
    there = await new_transfer(world)
    back = await _back(world, there)
    # Both begin on shard-1.
    assert (await there.prepare(SOURCE)).is_yes
    waiting = asyncio.create_task(back.prepare(TARGET))
    await world.until_waiting("shard-1")
    assert (await there.prepare(TARGET)).is_yes
    for participant in BOTH:
        assert (await there.commit(participant)).outcome is ParticipantOutcome.COMMITTED
    assert (await waiting).is_yes
    assert (await back.prepare(SOURCE)).is_yes
    for participant in BOTH:
        assert (await back.commit(participant)).outcome is ParticipantOutcome.COMMITTED
    assert await there.money() == (100_00, 0)


async def _back(world: World, there: TransferByHand) -> TransferByHand:
    """The same money the other way."""
    sent = there.transfer
    await world.rows("shard-2", "UPDATE account SET overdraft = 10000 WHERE id = :id", id=sent.target)
    back = TransferByHand(
        world,
        Transfer(f"{sent.transfer_id}-back", sent.target, sent.source, sent.amount),
        {SOURCE: there.shards[TARGET], TARGET: there.shards[SOURCE]},
    )
    await back.open()
    return back


async def test_the_first_movements_of_a_currency_do_not_wait_for_each_other(world: World) -> None:
    first = await new_transfer(world, currency="SEK")
    second = await new_transfer(world, currency="SEK")
    assert not await clearing_opened(world, "shard-1", "SEK")
    await first.prepare_both()
    async with asyncio.timeout(1):
        await second.prepare_both()


async def test_a_commit_does_not_wait_behind_prepares(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    # Every connection of the usual pool waits for a lock that only the commit gives back.
    others = [await _another(world, transfer) for _ in range(POOL_SIZE)]
    waiting = [asyncio.create_task(other.prepare(SOURCE)) for other in others]
    await _until_waiting(world, "shard-1", POOL_SIZE)
    async with asyncio.timeout(1):
        assert (await transfer.commit(SOURCE)).outcome is ParticipantOutcome.COMMITTED
    votes = await asyncio.gather(*waiting, return_exceptions=True)
    # One of them is prepared now, and the others wait for that one.
    assert [vote for vote in votes if not isinstance(vote, LockTimedOut)] == [two_phase.YES]
    await transfer.commit(TARGET)


async def _until_waiting(world: World, shard: str, count: int) -> None:
    """Like `World.until_waiting`, if the usual pool has no connection left for the query."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    async with world.cluster.shards[shard].phase_two.autocommit() as connection:
        async for _ in attempts(2.5):
            if await connection.scalar(text(waiting)) == count:
                return
    raise AssertionError("they do not wait")


async def _another(world: World, transfer: TransferByHand) -> TransferByHand:
    sent = transfer.transfer
    number = next(_numbers)
    other = TransferByHand(
        world, Transfer(f"{sent.transfer_id}-{number}", sent.source, sent.target, Money(1, "USD")), transfer.shards
    )
    await other.open()
    return other


@pytest.mark.parametrize("forbidden", ["NOTIFY somebody", "LISTEN somebody", "CREATE TEMP TABLE t (n int)"])
async def test_postgres_refuses_to_prepare_a_transaction_that_did_this(world: World, forbidden: str) -> None:
    async with world.cluster.primaries["shard-1"].autocommit() as connection:
        await connection.exec_driver_sql("BEGIN")
        await connection.exec_driver_sql(forbidden)
        with pytest.raises(DBAPIError, match="cannot PREPARE a transaction that has"):
            await connection.exec_driver_sql("PREPARE TRANSACTION 'shardwise:transfer/a/b:source'")


async def test_no_time_limit_follows_a_transaction_that_is_prepared(world: World) -> None:
    gid = "shardwise:transfer/a/limits:source"
    async with world.cluster.primaries["shard-1"].autocommit() as connection:
        await connection.exec_driver_sql("BEGIN")
        await connection.exec_driver_sql("SET LOCAL transaction_timeout = '200ms'")
        await connection.exec_driver_sql("SELECT pg_current_xact_id()")
        await connection.exec_driver_sql(f"PREPARE TRANSACTION '{gid}'")
        await connection.exec_driver_sql("SELECT pg_sleep(0.5)")
        still_there = f"SELECT count(*) FROM pg_prepared_xacts WHERE gid = '{gid}'"
        assert (await connection.exec_driver_sql(still_there)).scalar_one() == 1
        await connection.exec_driver_sql(f"COMMIT PREPARED '{gid}'")


# ── a BEGIN of our own ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def single(cluster_dsns: Databases) -> AsyncIterator[Database]:
    """A pool of one connection: the next caller gets the state that the one before has left."""
    made = Database("shard-1", cluster_dsns.shards["shard-1"], pool_size=1)
    yield made
    await made.close()


async def _is_clean(database: Database) -> bool:
    async with database.autocommit() as connection:
        return await connection.scalar(_XID) != await connection.scalar(_XID)


_XID = text("SELECT pg_current_xact_id()")
BEGUN = "BEGIN"
WRITTEN = "INSERT INTO account (id, kind, currency) VALUES ('clearing/NOK', 'clearing', 'NOK')"
WRONG = "SELECT 1 / 0"


@pytest.mark.parametrize("statements", [[BEGUN], [BEGUN, WRITTEN], [BEGUN, WRITTEN, WRONG]], ids=len)
@pytest.mark.parametrize("ending", ["leaves", "fails", "is cancelled", "is cancelled in a statement"])
async def test_a_begin_never_gets_back_into_the_pool(single: Database, statements: list[str], ending: str) -> None:
    reached = asyncio.Event()

    async def work() -> None:
        async with single.autocommit() as connection:
            for statement in statements:
                await connection.exec_driver_sql(statement)
            reached.set()
            if ending == "fails":
                raise LookupError
            if ending == "is cancelled":
                await asyncio.Event().wait()
            if ending == "is cancelled in a statement":
                await connection.exec_driver_sql("SELECT pg_sleep(30)")

    task = asyncio.create_task(work())
    if ending.startswith("is cancelled") and WRONG not in statements:
        await reached.wait()
        task.cancel()
    [failure] = await asyncio.gather(task, return_exceptions=True)
    assert (failure is None) == (ending == "leaves" and WRONG not in statements)
    assert await _is_clean(single)
    async with single.transaction() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM account WHERE id = 'clearing/NOK'")) == 0


@pytest.mark.parametrize("participant", BOTH)
async def test_a_prepare_that_fails_or_is_cancelled_leaves_nothing_open(
    world: World, participant: Participant, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = await new_transfer(world)
    reached = asyncio.Event()

    async def never_ends(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    async def fails(*_: object) -> None:
        raise LookupError

    monkeypatch.setattr("shards.routing.shard_transaction.ShardTransaction.finish", fails)
    with pytest.raises(LookupError):
        await transfer.prepare(participant)
    monkeypatch.setattr("shards.routing.shard_transaction.ShardTransaction.finish", never_ends)
    task = asyncio.create_task(transfer.prepare(participant))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.undo()
    open_ones = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in trans%'"
    )
    assert await world.rows(transfer.shards[participant], open_ones) == [(0,)]
    assert (await transfer.prepare(participant)).is_yes
