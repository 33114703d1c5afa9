"""Batches of transfers on real shards: each line has an outcome of its own, and nothing happens twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.interfaces import DecideTransfer, LineRange, OpenTransfer
from activities.transfers import ShardedTransferActivities
from domain.money import Money
from domain.sagas import SagaOutcome
from domain.transfer_batch import Round, batch_workflow_id
from domain.transfers import Protocol, ProtocolChoice, Transfer
from shards.audit.audit import Audit
from shards.audit.report import report_of
from shards.audit.workflows import Work
from shards.connections.cluster import Cluster
from shards.transfers.batch.outcomes import LineStatus
from shards.transfers.batch.staging import exclusive_staging, finish
from tests.support.batches import BatchByHand, settled_by_the_rules, transfer
from tests.support.workflow_states import WorkflowsInMemory
from tests.support.world import World

SETTLED = (LineStatus.SETTLED, "")
NO_MONEY = (LineStatus.DECLINED, "insufficient_funds")


async def accounts(
    world: World, *balances: str, shards: Sequence[str] = ("shard-1", "shard-2", "shard-3")
) -> list[str]:
    """Accounts, one after the other on the shards."""
    return [
        await world.customer(balance, shard=shards[number % len(shards)]) for number, balance in enumerate(balances)
    ]


async def posted(world: World, *account_ids: str) -> list[int]:
    return [(await world.money_of(account))[0] for account in account_ids]


async def assert_sound(world: World) -> None:
    assert await world.violations() == []


async def test_money_moves_within_a_shard_and_across(world: World) -> None:
    ada, bob = await accounts(world, "100.00", "0.00")
    near = await world.customer("0.00", shard="shard-1")
    batch = BatchByHand(world, [transfer(ada, bob, "30.00"), transfer(ada, near, "20.50")])
    await batch.carry_out()
    assert await batch.outcomes() == [SETTLED, SETTLED]
    assert await posted(world, ada, bob, near) == [49_50, 30_00, 20_50]
    kinds = "SELECT kind FROM movement WHERE saga_id = ANY(:ids) ORDER BY kind"
    ids = [each.saga_id for each in batch.transfers]
    assert await world.everywhere(kinds, ids=ids) == [("debit",), ("transfer",), ("credit",)]
    protocols = "SELECT protocol, state, batch_id FROM transfer WHERE source = :source ORDER BY protocol"
    assert await world.everywhere(protocols, source=ada) == [
        ("bulk", "confirmed", batch.batch_id),
        ("local", "confirmed", batch.batch_id),
    ]
    await assert_sound(world)


async def test_each_transfer_and_each_account_it_touched_has_an_event(world: World) -> None:
    ada, bob = await accounts(world, "100.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "30.00"), transfer(ada, bob, "5.00"), transfer(bob, ada, "99.00")])
    await batch.carry_out()
    events = """
        SELECT kind, aggregate_version, payload FROM outbox
        WHERE saga_id = ANY(:ids) OR (saga_id = :batch AND aggregate_id = ANY(:accounts)) ORDER BY id
    """
    published = await world.everywhere(
        events,
        ids=[each.saga_id for each in batch.transfers],
        batch=f"transfer-batch/{batch.batch_id}",
        accounts=[ada, bob],
    )
    sent = {"target": bob, "batch": batch.batch_id, "protocol": "bulk"}
    assert published == [
        ("TransferConfirmed", 1, {"amount": "30.00 USD", **sent}),
        ("TransferConfirmed", 1, {"amount": "5.00 USD", **sent}),
        ("TransfersPosted", 2, {"amount": "-35.00 USD"}),
        ("TransfersPosted", 2, {"amount": "35.00 USD"}),
        (
            "TransferDeclined",
            1,
            {"amount": "99.00 USD", **sent, "target": ada, "reason": "insufficient_funds"},
        ),
    ]


@pytest.mark.parametrize("currency", ["JPY", "BHD"])
async def test_events_write_amounts_with_the_currencys_decimals(world: World, currency: str) -> None:
    balance = Money(5_000, currency)
    ada, bob = [await world.customer(balance.amount, currency, shard) for shard in ("shard-1", "shard-2")]
    batch = BatchByHand(world, [Transfer("T", ada, bob, Money(1_200, currency))])
    await batch.carry_out()
    amounts = await world.everywhere(
        "SELECT payload->>'amount' FROM outbox WHERE saga_id = :id", id=batch.transfers[0].saga_id
    )
    assert amounts == [(str(Money(1_200, currency)),)]


async def test_every_refusal_has_its_reason_and_takes_no_money(world: World) -> None:
    ada, bob, eve = await accounts(world, "10.00", "10.00", "10.00")
    euro = await world.customer("10.00", "EUR", "shard-2")
    frozen, shut = await accounts(world, "10.00", "10.00", shards=("shard-1", "shard-2"))
    await world.everywhere("UPDATE account SET state = 'frozen' WHERE id = ANY(:ids)", ids=[frozen, shut])
    near = await world.customer("0.00", shard="shard-1")
    cases = [
        (transfer("nobody", bob, "1.00"), "unknown_account"),
        (transfer(ada, "nobody", "1.00"), "unknown_account"),
        (transfer(euro, bob, "1.00"), "currency_mismatch"),
        (transfer(ada, euro, "1.00"), "currency_mismatch"),
        (transfer(frozen, bob, "1.00"), "account_not_open"),
        (transfer(ada, shut, "1.00"), "account_not_open"),
        (transfer(ada, frozen, "1.00"), "account_not_open"),
        (transfer(eve, ada, "10.01"), "insufficient_funds"),
        (transfer(near, ada, "0.01"), "insufficient_funds"),
        (transfer(ada, bob, "10.00"), ""),
    ]
    batch = BatchByHand(world, [each for each, _ in cases])
    await batch.carry_out()
    assert [reason for _, reason in await batch.outcomes()] == [reason for _, reason in cases]
    assert await posted(world, ada, bob, eve) == [0, 20_00, 10_00]
    states = "SELECT DISTINCT state FROM admission WHERE saga_id = ANY(:ids) ORDER BY state"
    found = await world.everywhere(states, ids=[each.saga_id for each, _ in cases])
    assert {state for (state,) in found} == {"credited", "refused", "withdrawn"}
    await assert_sound(world)


async def test_money_that_the_file_credits_is_spent_in_the_second_round_and_no_later(world: World) -> None:
    ada, bob, eve = await accounts(world, "10.00", "0.00", "0.00")
    batch = BatchByHand(
        world,
        [
            transfer(eve, ada, "10.00"),  # would need the money that bob gets in the second round
            transfer(bob, eve, "10.00"),  # needs what ada sends
            transfer(ada, bob, "10.00"),
        ],
    )
    await batch.stage()
    await batch.round(Round.FIRST)
    assert await batch.outcomes(finished=False) == [(LineStatus.PENDING, ""), (LineStatus.PENDING, ""), SETTLED]
    await batch.round(Round.SECOND)
    assert await batch.outcomes() == [NO_MONEY, SETTLED, SETTLED]
    assert await posted(world, ada, bob, eve) == [0, 0, 10_00]
    await assert_sound(world)


async def test_the_same_holds_if_all_accounts_share_a_shard(world: World) -> None:
    ada, bob, eve = await accounts(world, "10.00", "0.00", "0.00", shards=("shard-2",))
    lines = [transfer(eve, ada, "10.00"), transfer(bob, eve, "10.00"), transfer(ada, bob, "10.00")]
    batch = BatchByHand(world, lines)
    await batch.carry_out(chunk_lines=1)
    assert await batch.outcomes() == [NO_MONEY, SETTLED, SETTLED]
    await assert_sound(world)


async def test_a_hot_account_on_both_sides_is_decided_line_by_line(world: World) -> None:
    hot, *others = await accounts(world, "50.00", "5.00", "5.00", "5.00", shards=("shard-1", "shard-2", "shard-1"))
    lines = [transfer(others[n % 3], hot, "1.00") if n % 2 else transfer(hot, others[n % 3], "3.00") for n in range(60)]
    batch = BatchByHand(world, lines)
    await batch.carry_out(chunk_lines=7)
    assert sum(await posted(world, hot, *others)) == 65_00
    balances = {hot: 50_00, **dict.fromkeys(others, 5_00)}
    assert [status is LineStatus.SETTLED for status, _ in await batch.outcomes()] == settled_by_the_rules(
        lines, balances
    )
    await assert_sound(world)


@pytest.mark.parametrize("seed", range(3))
async def test_any_file_ends_as_the_rules_say_whatever_is_done_twice_or_at_once(world: World, seed: int) -> None:
    chance = random.Random(seed)
    ids = await accounts(world, *(f"{chance.randrange(60)}.00" for _ in range(7)))
    balances = dict(zip(ids, await posted(world, *ids), strict=True))
    lines = [transfer(*chance.sample(ids, 2), f"{chance.randrange(1, 40)}.00") for _ in range(80)]
    batch = BatchByHand(world, lines)
    await batch.stage()
    for round_ in Round:
        # Attempts that nobody waits for any more run beside the ones that count.
        await asyncio.gather(*(_attempts(batch, shard, round_, chance) for shard in batch.lines or ()))
    assert [status is LineStatus.SETTLED for status, _ in await batch.outcomes()] == settled_by_the_rules(
        lines, balances
    )
    await assert_sound(world)


async def _attempts(batch: BatchByHand, shard: str, round_: Round, chance: random.Random) -> None:
    range_ = LineRange(batch.batch_id, shard, round_, 0, 1_000_000, chance.randrange(2, 9))
    attempt = lambda: ActivityEnvironment().run(batch.activities.carry_out_lines, range_)  # noqa: E731
    await asyncio.gather(_until_nobody_is_in_the_way(attempt), _until_nobody_is_in_the_way(attempt))


async def _until_nobody_is_in_the_way(attempt: Callable[[], Awaitable[object]]) -> None:
    """As Temporal would: again and again."""
    while True:
        try:
            await attempt()
            return
        except ApplicationError as error:
            if error.type not in ("try_again", "database_error"):
                raise


async def test_the_same_batch_again_changes_no_row(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "6.00"), transfer(ada, bob, "6.00"), transfer(bob, ada, "6.00")])
    await batch.carry_out()
    before = await batch.rows(), await posted(world, ada, bob)
    await batch.carry_out()
    assert (await batch.rows(), await posted(world, ada, bob)) == before
    assert await batch.outcomes() == [SETTLED, NO_MONEY, SETTLED]


async def test_a_batch_whose_lines_were_thrown_away_is_staged_again_and_moves_nothing(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "6.00"), transfer(ada, bob, "6.00")])
    await batch.carry_out()
    before = await batch.rows()
    await finish(world.cluster, batch.batch_id)
    async with exclusive_staging(world.cluster, await world.router.map(), batch.batch_id) as staging:
        await staging.drop_old(days=-1)
        assert await staging.found() is None
    for table in ("batch_line", "batch_postponed", "batch_credit"):
        assert await world.everywhere(f"SELECT FROM {table} WHERE batch_id = :id", id=batch.batch_id) == []
    again = BatchByHand(world, batch.transfers, batch.batch_id)
    await again.carry_out()
    assert await again.rows() == before
    assert await again.outcomes() == [SETTLED, NO_MONEY]


async def test_debits_whose_worker_died_before_the_credits_are_brought_to_their_end(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "4.00"), transfer(ada, "nobody", "1.00")])
    await batch.stage()
    # The servers of the targets come back after the debit: the credit fails, as if it had been killed.
    async with _refusing_movements(world, "shard-2"):
        with pytest.raises(ApplicationError, match=r"killed|does not answer"):
            await batch.round(Round.FIRST)
    assert await posted(world, ada, bob) == [6_00, 0]
    assert await batch.outcomes(finished=False) == [(LineStatus.PENDING, ""), (LineStatus.DECLINED, "unknown_account")]
    await assert_sound(world)
    await batch.carry_out()
    assert await posted(world, ada, bob) == [6_00, 4_00]
    assert (await batch.outcomes())[0] == SETTLED
    await assert_sound(world)


@asynccontextmanager
async def _refusing_movements(world: World, shard: str) -> AsyncIterator[None]:
    """A shard that refuses every booking, by a trigger in its database."""
    killed = """
        CREATE FUNCTION killed() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'killed' USING ERRCODE = 'admin_shutdown'; END $$
    """
    trigger = "CREATE TRIGGER killed BEFORE INSERT ON movement EXECUTE FUNCTION killed()"
    await world.as_owner(shard, killed, trigger)
    try:
        yield
    finally:
        await world.as_owner(shard, "DROP TRIGGER killed ON movement", "DROP FUNCTION killed()")


async def test_the_same_transfer_twice_in_a_file_is_one_and_with_other_content_a_conflict(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    first = transfer(ada, bob, "1.00")
    other = transfer(ada, bob, "2.00", first.transfer_id)
    batch = BatchByHand(world, [first, transfer(ada, bob, "3.00"), first, other])
    await batch.carry_out()
    assert await batch.outcomes() == [
        SETTLED,
        SETTLED,
        (LineStatus.REPEATED, ""),
        (LineStatus.INVALID, "id_conflict"),
    ]
    assert await posted(world, ada, bob) == [6_00, 4_00]


async def test_a_postponed_line_keeps_its_id_from_a_later_one_of_the_file(world: World) -> None:
    ada, bob = await accounts(world, "1.00", "0.00")
    first = transfer(ada, bob, "9.00")
    batch = BatchByHand(world, [first, transfer(ada, bob, "1.00", first.transfer_id)])
    await batch.carry_out(chunk_lines=1)
    assert await batch.outcomes() == [NO_MONEY, (LineStatus.INVALID, "id_conflict")]
    assert await posted(world, ada, bob) == [1_00, 0]


async def test_a_transfer_that_another_saga_began_is_left_to_it(world: World) -> None:
    ada, bob, eve = await accounts(world, "10.00", "0.00", "0.00")
    single = ShardedTransferActivities(world.router)
    same, other = transfer(ada, bob, "4.00"), transfer(ada, bob, "1.00")
    for each in (same, other):
        await single.open_transfer(OpenTransfer(each, ProtocolChoice.SAGA))
    batch = BatchByHand(world, [same, transfer(ada, eve, "1.00", other.transfer_id)])
    await batch.carry_out()
    assert await batch.outcomes() == [(LineStatus.PENDING, ""), (LineStatus.INVALID, "id_conflict")]
    assert (await single.admit_transfer(same)).refusal is None
    assert (await single.decide_transfer(DecideTransfer(same, Protocol.SAGA))).outcome is SagaOutcome.CONFIRMED
    assert await batch.outcomes() == [(LineStatus.PENDING, ""), (LineStatus.INVALID, "id_conflict")]
    await single.credit_transfer(same)
    assert (await batch.outcomes())[0] == SETTLED
    assert await posted(world, bob, eve) == [4_00, 0]
    await assert_sound(world)


async def test_a_saga_with_a_lines_id_and_other_content_does_not_take_its_admission(world: World) -> None:
    ada, bob, eve = await accounts(world, "10.00", "0.00", "0.00")
    line = transfer(ada, bob, "50.00")
    batch = BatchByHand(world, [line])
    await batch.stage()
    await batch.round(Round.FIRST)  # admitted, and postponed
    single = ShardedTransferActivities(world.router)
    other = transfer(ada, eve, "2.00", line.transfer_id)
    await single.open_transfer(OpenTransfer(other, ProtocolChoice.SAGA))
    assert (await single.admit_transfer(other)).refusal is None  # eve's shard knows nothing of bob's admission
    await single.decide_transfer(DecideTransfer(other, Protocol.SAGA))
    await single.credit_transfer(other)
    await batch.round(Round.SECOND)
    assert await batch.outcomes() == [(LineStatus.INVALID, "id_conflict")]
    assert await posted(world, ada, bob, eve) == [8_00, 0, 2_00]
    assert await world.everywhere("SELECT state FROM admission WHERE account_id = :id", id=bob) == []
    await assert_sound(world)


async def test_two_files_with_the_same_transfer_move_it_once(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    shared = transfer(ada, bob, "4.00")
    one, two = BatchByHand(world, [shared]), BatchByHand(world, [transfer(ada, bob, "1.00"), shared])
    await one.stage()
    await two.stage()
    await asyncio.gather(*(_until_nobody_is_in_the_way(batch.carry_out) for batch in (one, two)))
    assert await one.outcomes() == [SETTLED]
    assert await two.outcomes() == [SETTLED, SETTLED]
    assert await posted(world, ada, bob) == [5_00, 5_00]
    await assert_sound(world)


async def test_an_unfinished_staging_is_replaced_and_decides_nothing(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "4.00")])
    async with exclusive_staging(world.cluster, await world.router.map(), batch.batch_id) as staging:
        await staging.begin()
        for n in (2, 3):
            await staging.add(n, transfer(ada, bob, "9.00"))
        await staging._copy("shard-1")  # killed behind it
    await batch.carry_out()
    assert await posted(world, ada, bob) == [6_00, 4_00]
    assert await world.everywhere("SELECT n FROM batch_line WHERE batch_id = :id", id=batch.batch_id) == [(2,)]


async def test_an_account_with_an_admitted_line_has_an_open_admission_until_the_batch_ends(world: World) -> None:
    ada, bob = await accounts(world, "1.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "9.00")])
    await batch.stage()
    await batch.round(Round.FIRST)
    states = "SELECT state FROM admission WHERE account_id = :id"
    assert await world.everywhere(states, id=bob) == [("open",)]
    await batch.round(Round.SECOND)
    assert await world.everywhere(states, id=bob) == [("withdrawn",)]


async def test_a_shard_that_lost_the_slot_refuses_the_chunk_whole(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "4.00")])
    await batch.stage()
    slot = (await world.customer_route(bob)).slot
    fence = "UPDATE ownership SET state = :state WHERE keyspace = 'bucket' AND slot = :slot"
    await world.rows("shard-2", fence, state="fenced", slot=slot)
    try:
        with pytest.raises(ApplicationError, match="does not own"):
            await batch.round(Round.FIRST)
    finally:
        await world.rows("shard-2", fence, state="owned", slot=slot)
    assert await posted(world, ada, bob) == [10_00, 0]
    await batch.carry_out()
    assert await posted(world, ada, bob) == [6_00, 4_00]


async def test_a_reference_may_hold_the_characters_that_copy_treats_specially(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "0.00")
    line = Transfer("T", ada, bob, Money(1_00, "USD"), "\\N a\\tb \\. ünïcode")
    batch = BatchByHand(world, [line])
    await batch.carry_out()
    rows = await world.everywhere("SELECT reference, content_hash FROM transfer WHERE source = :id", id=ada)
    assert rows == [(line.reference, line.content_hash)]


@pytest.mark.parametrize("work", [Work.OPEN, Work.CLOSED])
async def test_verify_sees_what_a_batch_has_begun_as_its_workflows(cluster: Cluster, work: Work) -> None:
    world = World(cluster)
    ada, bob = await accounts(world, "10.00", "0.00")
    batch = BatchByHand(world, [transfer(ada, bob, "4.00"), transfer(ada, bob, "9.00"), transfer(ada, bob, "1.00")])
    await batch.stage()
    async with _refusing_movements(world, "shard-2"):
        with pytest.raises(ApplicationError, match=r"killed|does not answer"):
            await batch.round(Round.FIRST)
    workflows = WorkflowsInMemory()
    workflows.put(batch_workflow_id(batch.batch_id), work)
    audit = Audit(cluster, workflows, lambda *_: None)
    await audit.run()
    document = report_of(audit).document()
    # Two confirmed and on their way, one admitted and postponed.
    assert document["ok"] == (work is Work.OPEN), document
    if work is Work.OPEN:
        assert document["in_flight"]["money"] == {"USD": {"count": 2, "amount": "5.00"}}
    await batch.carry_out()
    workflows.put(batch_workflow_id(batch.batch_id), Work.CLOSED)
    audit = Audit(cluster, workflows, lambda *_: None)
    await audit.run()
    assert report_of(audit).document()["ok"]


async def test_lines_that_a_restored_shard_has_lost_are_staged_and_carried_out_again(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "10.00")
    batch = BatchByHand(world, [transfer(ada, bob, "1.00"), transfer(bob, ada, "2.00")])
    await batch.stage()
    await world.rows("shard-1", "DELETE FROM batch_line WHERE batch_id = :id", id=batch.batch_id)
    await batch.stage()
    await batch.carry_out()
    assert await batch.outcomes() == [SETTLED, SETTLED]
    # The target's side is lost, and was decided: it is credited again.
    saga_id = batch.transfers[0].saga_id
    for statement in (
        "UPDATE account SET posted = posted - 100 WHERE id = :bob",
        "DELETE FROM clearing_leg WHERE saga_id = :saga",
        "DELETE FROM entry USING movement AS m WHERE m.id = movement_id AND m.saga_id = :saga",
        "DELETE FROM movement WHERE saga_id = :saga",
        "DELETE FROM admission WHERE saga_id = :saga",
    ):
        await world.rows("shard-2", statement, saga=saga_id, bob=bob)
    await batch.carry_out()
    assert await posted(world, ada, bob) == [11_00, 9_00]
    await assert_sound(world)


async def test_lines_whose_source_a_restored_shard_has_lost_leave_it_again(world: World) -> None:
    ada, bob = await accounts(world, "10.00", "10.00")
    batch = BatchByHand(world, [transfer(ada, bob, "1.00")])
    await batch.carry_out()
    saga_id = batch.transfers[0].saga_id
    for statement in (
        "UPDATE account SET posted = posted + 100 WHERE id = :ada",
        "DELETE FROM clearing_leg WHERE saga_id = :saga",
        "DELETE FROM entry USING movement AS m WHERE m.id = movement_id AND m.saga_id = :saga",
        "DELETE FROM movement WHERE saga_id = :saga",
        "DELETE FROM transfer WHERE source = :ada",
    ):
        await world.rows("shard-1", statement, saga=saga_id, ada=ada)
    await batch.carry_out()
    assert await batch.outcomes() == [SETTLED]
    assert await posted(world, ada, bob) == [9_00, 11_00]
    await assert_sound(world)
