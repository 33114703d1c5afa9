"""How a transfer is decided, in skipped time: each protocol, each refusal, and going on as it was begun."""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType

from domain.money import Money
from domain.sagas import Reason
from domain.transfers import Protocol, ProtocolChoice, TransferState, TransferStatus
from domain.two_phase import Participant
from tests.workflow.faults import FailsForGood, Outage
from tests.workflow.order_driver import events, only_hangs, until
from tests.workflow.transfer_driver import (
    CANCELLED,
    TWO_PHASE,
    TransferDriver,
    assert_declined,
    assert_settled,
    statuses,
)
from workflows.transfers.transfer import TransferWorkflow

VOTES = ["prepare source", "prepare target"]


# ── within a shard ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", ProtocolChoice)
async def test_on_one_shard_every_protocol_is_one_local_step(
    transfers: TransferDriver, protocol: ProtocolChoice
) -> None:
    handle = await transfers.send(protocol, target="amy")
    assert_settled(await handle.result(), Protocol.LOCAL)
    assert transfers.bank.steps() == ["open"]
    transfers.bank.assert_at_rest(10_00, target="amy")


async def test_a_transfer_that_must_be_local_and_is_not_is_declined_with_nothing_begun(
    transfers: TransferDriver,
) -> None:
    handle = await transfers.send(ProtocolChoice.LOCAL)
    result = await handle.result()
    assert_declined(result, Reason.NOT_LOCAL)
    assert result.protocol is None
    assert transfers.bank.steps() == ["open"]
    assert transfers.bank.state is None


# ── saga ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("protocol", [ProtocolChoice.AUTO, ProtocolChoice.SAGA])
async def test_a_saga_holds_admits_decides_and_credits(transfers: TransferDriver, protocol: ProtocolChoice) -> None:
    handle = await transfers.send(protocol)
    assert_settled(await handle.result(), Protocol.SAGA)
    assert transfers.bank.steps() == ["open", "admit", "decide", "credit"]
    transfers.bank.assert_at_rest(10_00)
    assert await statuses(handle) == ["settled"]


async def test_without_money_the_target_is_never_asked(transfers: TransferDriver) -> None:
    handle = await transfers.send(amount=Money(100_01, "USD"))
    assert_declined(await handle.result(), Reason.INSUFFICIENT_FUNDS)
    assert transfers.bank.steps() == ["open"]
    transfers.bank.assert_at_rest(0)


async def test_a_target_that_refuses_gets_nothing_and_the_hold_is_released(transfers: TransferDriver) -> None:
    transfers.bank.frozen.add("bob")
    handle = await transfers.send()
    assert_declined(await handle.result(), Reason.ACCOUNT_NOT_OPEN)
    assert transfers.bank.steps() == ["open", "admit", "decide", "withdraw"]
    transfers.bank.assert_at_rest(0)


async def test_a_step_that_fails_for_good_before_the_decision_declines(transfers: TransferDriver) -> None:
    transfers.bank.inject("admit", FailsForGood())
    handle = await transfers.send()
    assert_declined(await handle.result(), Reason.STEP_FAILED)
    transfers.bank.assert_at_rest(0)


async def test_cancelled_after_the_decision_it_arrives_all_the_same(transfers: TransferDriver) -> None:
    outage = Outage()
    transfers.bank.inject("credit", outage)
    handle = await transfers.send()
    await until(lambda: transfers.bank.calls.count("credit") > transfers.local_attempts)
    await handle.cancel()
    outage.over()
    assert_settled(await handle.result(), Protocol.SAGA)
    transfers.bank.assert_at_rest(10_00)


@pytest.mark.parametrize("step", ["decide", "credit"])
async def test_a_step_that_cannot_succeed_now_raises_the_alarm_and_obeys_the_operator(
    transfers: TransferDriver, step: str
) -> None:
    transfers.bank.inject(step, *[FailsForGood()] * (2 if transfers.local_attempts else 1))
    handle = await transfers.send()

    async def stuck() -> bool:
        return await statuses(handle) == ["stuck"]

    await until(stuck)
    await handle.execute_update(TransferWorkflow.retry)
    assert_settled(await handle.result(), Protocol.SAGA)
    assert await statuses(handle) == ["stuck", "pending", "settled"]
    transfers.bank.assert_at_rest(10_00)


# ── two-phase commit ────────────────────────────────────────────────────────────────────────────────────────


async def test_two_phase_commit_votes_in_the_order_of_the_shards_and_commits_the_source_first(
    transfers: TransferDriver,
) -> None:
    handle = await transfers.send(TWO_PHASE)
    assert_settled(await handle.result(), Protocol.TWO_PHASE)
    assert transfers.bank.steps() == ["open", *VOTES, "commit source", "commit target"]
    transfers.bank.assert_at_rest(10_00)


async def test_votes_and_commits_are_in_the_history_in_every_mode(transfers: TransferDriver) -> None:
    handle = await transfers.send(TWO_PHASE)
    await handle.result()
    scheduled = await events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED)
    names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in scheduled]
    assert names[-4:] == ["prepare_participant"] * 2 + ["commit_participant"] * 2


async def test_a_veto_aborts_both(transfers: TransferDriver) -> None:
    transfers.bank.frozen.add("bob")
    handle = await transfers.send(TWO_PHASE)
    assert_declined(await handle.result(), Reason.ACCOUNT_NOT_OPEN)
    assert transfers.bank.steps() == ["open", *VOTES, "abort source", "abort target"]
    transfers.bank.assert_at_rest(0)


async def test_a_participant_that_does_not_vote_in_time_is_a_no(transfers: TransferDriver) -> None:
    transfers.bank.inject("prepare target", Outage())
    handle = await transfers.send(TWO_PHASE)
    assert_declined(await handle.result(), Reason.NO_VOTE)
    transfers.bank.assert_at_rest(0)


@pytest.mark.parametrize("participant", Participant)
async def test_a_commit_waits_as_long_as_it_must_and_a_cancel_changes_nothing(
    transfers: TransferDriver, participant: Participant
) -> None:
    outage = Outage()
    transfers.bank.inject(f"commit {participant}", outage)
    handle = await transfers.send(TWO_PHASE)
    await until(lambda: transfers.bank.calls.count(f"commit {participant}") > 1)
    await transfers.env.sleep(60)
    await handle.cancel()
    assert await statuses(handle) == ["stuck"]
    outage.over()
    assert_settled(await handle.result(), Protocol.TWO_PHASE)
    transfers.bank.assert_at_rest(10_00)


async def test_if_another_coordinator_aborted_the_source_first_the_target_follows(transfers: TransferDriver) -> None:
    hang = transfers.hang_durably("commit source", durable=True)
    handle = await transfers.send(TWO_PHASE)
    await only_hangs(handle, hang)
    transfers.bank.abort(Participant.SOURCE, CANCELLED)
    hang.release()
    assert_declined(await handle.result(), Reason.CANCELLED)
    assert transfers.bank.steps()[-1] == "abort target"
    transfers.bank.assert_at_rest(0)


# ── started again from the row ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (TransferState.PENDING, ["open", "admit", "decide", "credit"]),
        (TransferState.CONFIRMED, ["open", "credit"]),
        (TransferState.DECLINED, ["open", "withdraw"]),
    ],
)
async def test_a_saga_goes_on_from_its_row(transfers: TransferDriver, state: TransferState, steps: list[str]) -> None:
    bank, transfer = transfers.bank, transfers.transfer()
    bank.open(transfer, ProtocolChoice.SAGA)
    bank.admit(transfer)
    if state is not TransferState.PENDING:
        bank.decide(transfer, None if state is TransferState.CONFIRMED else CANCELLED)
    handle = await transfers.send(TWO_PHASE)  # The protocol requested now is not the one that it began with.
    result = await handle.result()
    assert result.protocol is Protocol.SAGA
    assert bank.steps() == steps
    assert result.status is (TransferStatus.DECLINED if state is TransferState.DECLINED else TransferStatus.SETTLED)
    bank.assert_at_rest(0 if state is TransferState.DECLINED else 10_00)


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        (TransferState.PENDING, [*VOTES, "commit source", "commit target"]),
        (TransferState.CONFIRMED, ["commit source", "commit target"]),
        (TransferState.DECLINED, ["abort source", "abort target"]),
    ],
)
async def test_two_phase_commit_goes_on_from_its_row(
    transfers: TransferDriver, state: TransferState, steps: list[str]
) -> None:
    bank, transfer = transfers.bank, transfers.transfer()
    bank.open(transfer, TWO_PHASE)
    for participant in Participant:
        bank.prepare(transfer, participant)
    if state is TransferState.CONFIRMED:
        bank.commit(transfer, Participant.SOURCE)
    elif state is TransferState.DECLINED:
        bank.abort(Participant.SOURCE, CANCELLED)
    handle = await transfers.send()
    result = await handle.result()
    assert result.protocol is Protocol.TWO_PHASE
    assert bank.steps() == ["open", *steps]
    bank.assert_at_rest(0 if state is TransferState.DECLINED else 10_00)
