"""Opening, freezing and closing accounts: what each bars, what bars each, and which of two at once wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from activities.interfaces import DecideTransfer, OpenedTransfer, OpenTransfer
from domain.catalogue import Customer
from domain.errors import Refused, Unreachable
from domain.identifiers import merchant_account_id
from domain.money import Money
from domain.sagas import Reason, Refusal
from domain.transfers import Protocol, Transfer, TransferState
from shards.accounts import holds
from shards.accounts.reads import AccountBalance, read_account
from shards.accounts.states import Change, change_account, close, freeze, unfreeze
from shards.catalogue.opening import open_account
from shards.transfers import admissions
from tests.support.world import World

MERCHANT = merchant_account_id("USD")
CANCELLED = Refusal(Reason.CANCELLED, "somebody changed their mind")
DOLLAR = Money(100, "USD")


def someone(account_id: str, balance: str = "0.00", overdraft: str | None = None, name: str = "Ada") -> Customer:
    allowed = None if overdraft is None else Money.parse(overdraft, "USD")
    return Customer(account_id, name, None, Money.parse(balance, "USD"), allowed)


async def refusal(work: Awaitable[object]) -> Refused:
    with pytest.raises(Refused) as refused:
        await work
    assert refused.value.field == "account_id"
    return refused.value


async def standing(world: World, account_id: str) -> tuple[str, int]:
    """(state, version)."""
    [row] = await world.everywhere("SELECT state, version FROM account WHERE id = :id", id=account_id)
    return row[0], row[1]


async def events(world: World, account_id: str) -> list[tuple[str, int]]:
    published = (
        "SELECT kind, aggregate_version FROM outbox WHERE aggregate = 'account' AND aggregate_id = :id ORDER BY id"
    )
    return [(row[0], row[1]) for row in await world.everywhere(published, id=account_id)]


async def transfer_across(world: World, source_balance: str = "5.00") -> Transfer:
    """From shard-1 to shard-2, of a dollar."""
    source, target = (
        await world.customer(source_balance, shard="shard-1"),
        await world.customer("0.00", shard="shard-2"),
    )
    return Transfer("T", source, target, DOLLAR)


async def hold(world: World, account_id: str, saga_id: str) -> Refusal | int | None:
    async with world.transaction(await world.customer_route(account_id)) as tx:
        account = await holds.lock_account(tx, account_id)
        assert account is not None
        return await holds.place_hold(tx, saga_id, "test", account, DOLLAR)


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_account_is_opened_as_an_import_would_and_once(world: World) -> None:
    asked = someone(await world.new_name(), "5.00", overdraft="2.50")
    opened = await open_account(world.router, asked)
    assert opened == AccountBalance(
        asked.customer_id,
        "USD",
        *(Money(minor, "USD") for minor in (500, 0, 250, 750)),
        "open",
        (await world.customer_route(asked.customer_id)).shard,
    )
    assert await open_account(world.router, asked) == opened
    published = "SELECT kind, payload FROM outbox WHERE aggregate_id = :id ORDER BY id"
    assert await world.everywhere(published, id=asked.customer_id) == [
        ("CustomerRegistered", {"name": "Ada", "email": None}),
        ("AccountOpened", {"balance": "5.00 USD", "overdraft": "2.50 USD"}),
    ]
    assert await world.violations() == []


async def test_an_id_opens_one_account(world: World) -> None:
    asked = someone(await world.new_name(), "5.00")
    await open_account(world.router, asked)
    others = [
        someone(asked.customer_id, "5.01"),
        someone(asked.customer_id, "5.00", name="Eve"),
        someone(asked.customer_id, "5.00", overdraft="1.00"),
    ]
    for other in others:
        assert (await refusal(open_account(world.router, other))).code == "id_conflict"
    assert await world.money_of(asked.customer_id) == (500, 0)


async def test_many_openings_of_one_account_at_once_open_one(world: World) -> None:
    name = await world.new_name()
    asked = [someone(name, f"{1 + n % 2}.00") for n in range(6)]
    answers = await asyncio.gather(*(open_account(world.router, each) for each in asked), return_exceptions=True)
    opened = [each for each in answers if isinstance(each, AccountBalance)]
    refused = [each for each in answers if isinstance(each, Refused)]
    assert len(opened) == len(refused) == 3
    assert {each.code for each in refused} == {"id_conflict"}
    assert await events(world, name) == [("AccountOpened", 1)]


async def test_an_opened_overdraft_is_spent_to_its_last_cent(world: World) -> None:
    asked = someone(await world.new_name(), "0.00", overdraft="1.00")
    await open_account(world.router, asked)
    assert isinstance(await hold(world, asked.customer_id, "test/overdraft-1"), int)
    refused = await hold(world, asked.customer_id, "test/overdraft-2")
    assert isinstance(refused, Refusal)
    assert refused.reason is Reason.INSUFFICIENT_FUNDS


# ── freezing ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_frozen_account_takes_on_nothing_new(world: World) -> None:
    transfer = await transfer_across(world)
    beside = await world.customer("5.00", shard="shard-1")
    for account_id in (transfer.source, transfer.target):
        assert (await change_account(world.router, account_id, freeze)).state == "frozen"

    held = await hold(world, transfer.source, "test/frozen")
    opened = await world.transfers.open_transfer(OpenTransfer(transfer))
    sent = await world.transfers.open_transfer(OpenTransfer(Transfer("L", transfer.source, beside, DOLLAR)))
    received = await world.transfers.open_transfer(OpenTransfer(Transfer("L", beside, transfer.source, DOLLAR)))
    admitted = await world.transfers.admit_transfer(transfer)
    refusals = [held, opened.refusal, sent.refusal, received.refusal, admitted.refusal]
    assert [each.reason for each in refusals if isinstance(each, Refusal)] == [Reason.ACCOUNT_NOT_OPEN] * 5
    saga = await world.saga(world.order(transfer.source, {"a": 1}))
    assert (await saga.open()) == Refusal(Reason.ACCOUNT_NOT_OPEN, f"account {transfer.source} is frozen")
    assert await world.money_of(transfer.source) == (500, 0)


async def test_of_an_account_that_takes_on_nothing_new_nothing_is_available(world: World) -> None:
    asked = someone(await world.new_name(), "0.00", overdraft="1.00")

    async def available(change: Change) -> int:
        return (await change_account(world.router, asked.customer_id, change)).available.minor

    assert (await open_account(world.router, asked)).available.minor == 100
    assert await available(freeze) == 0
    assert await available(unfreeze) == 100
    assert await available(close) == 0
    assert (await read_account(world.router, asked.customer_id)).available.minor == 0


async def test_money_held_or_admitted_before_a_freeze_is_paid_and_received(world: World) -> None:
    transfer = await transfer_across(world)
    assert (await world.transfers.open_transfer(OpenTransfer(transfer))).refusal is None
    assert (await world.transfers.admit_transfer(transfer)).refusal is None
    for account_id in (transfer.source, transfer.target):
        await change_account(world.router, account_id, freeze)
    assert (await world.transfers.decide_transfer(DecideTransfer(transfer, Protocol.SAGA))).is_confirmed
    await world.transfers.credit_transfer(transfer)
    assert await world.money_of(transfer.source) == (400, 0)
    assert await world.money_of(transfer.target) == (100, 0)


async def test_a_frozen_source_gets_its_held_money_back(world: World) -> None:
    transfer = await transfer_across(world)
    await world.transfers.open_transfer(OpenTransfer(transfer))
    await change_account(world.router, transfer.source, freeze)
    await world.transfers.decide_transfer(DecideTransfer(transfer, Protocol.SAGA, CANCELLED))
    assert await world.money_of(transfer.source) == (500, 0)


async def test_freeze_and_unfreeze_are_published_once_each_with_the_version_they_made(world: World) -> None:
    name = await world.customer()
    for change in (unfreeze, freeze, freeze, unfreeze, unfreeze, freeze):
        await change_account(world.router, name, change)
    changes = [("AccountFrozen", 2), ("AccountUnfrozen", 3), ("AccountFrozen", 4)]
    assert await events(world, name) == [("AccountOpened", 1), *changes]
    assert await standing(world, name) == ("frozen", 4)
    await change_account(world.router, name, unfreeze)
    assert isinstance(await hold(world, name, f"test/{name}"), int)


async def test_a_merchant_is_frozen_and_still_paid(world: World) -> None:
    saga = await world.saga(world.order(await world.customer(), {"a": 2}))
    await saga.open()
    await saga.decide()
    before, _ = await world.money_of(MERCHANT)
    try:
        assert (await change_account(world.router, MERCHANT, freeze)).state == "frozen"
        assert (await refusal(change_account(world.router, MERCHANT, close))).code == "merchant_account"
        await saga.credit()
        assert await world.money_of(MERCHANT) == (before + 200, 0)
    finally:
        assert (await change_account(world.router, MERCHANT, unfreeze)).state == "open"


# ── closing ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_reason_why_an_account_cannot_be_closed_is_reported(world: World) -> None:
    transfer = await transfer_across(world, "1.00")
    source, target = transfer.source, transfer.target
    refused = await refusal(change_account(world.router, source, close))
    assert (refused.code, refused.message) == (
        "account_not_empty",
        f"account {source} cannot be closed: its balance is 1.00 USD",
    )
    await world.transfers.open_transfer(OpenTransfer(transfer))
    refused = await refusal(change_account(world.router, source, close))
    assert refused.code == "account_has_holds"
    assert "1.00 USD is held" in refused.message
    await world.transfers.admit_transfer(transfer)
    refused = await refusal(change_account(world.router, target, close))
    assert refused.code == "account_has_open_admissions"
    assert "not credited yet (1)" in refused.message
    assert [(await standing(world, each))[0] for each in (source, target)] == ["open", "open"]

    await world.transfers.decide_transfer(DecideTransfer(transfer, Protocol.SAGA))
    assert (await change_account(world.router, source, close)).state == "closed"
    assert (await refusal(change_account(world.router, target, close))).code == "account_has_open_admissions"
    await world.transfers.credit_transfer(transfer)
    assert (await refusal(change_account(world.router, target, close))).code == "account_not_empty"
    assert await world.violations() == []


async def test_an_overdrawn_account_is_not_empty(world: World) -> None:
    asked = someone(await world.new_name("shard-1"), "0.00", overdraft="1.00")
    await open_account(world.router, asked)
    elsewhere = await world.customer("0.00", shard="shard-1")
    await world.transfers.open_transfer(OpenTransfer(Transfer("T", asked.customer_id, elsewhere, DOLLAR)))
    refused = await refusal(change_account(world.router, asked.customer_id, close))
    assert (refused.code, refused.message.partition(": ")[2]) == ("account_not_empty", "its balance is -1.00 USD")


async def test_a_withdrawn_admission_no_longer_bars_closing(world: World) -> None:
    transfer = await transfer_across(world)
    await world.transfers.open_transfer(OpenTransfer(transfer))
    await world.transfers.admit_transfer(transfer)
    await world.transfers.decide_transfer(DecideTransfer(transfer, Protocol.SAGA, CANCELLED))
    await world.transfers.withdraw_admission(transfer)
    assert (await change_account(world.router, transfer.target, close)).state == "closed"


@pytest.mark.parametrize("frozen_before", [False, True])
async def test_closed_is_final(world: World, frozen_before: bool) -> None:
    asked = someone(await world.new_name())
    name = asked.customer_id
    await open_account(world.router, asked)
    if frozen_before:
        await change_account(world.router, name, freeze)
    closed = await change_account(world.router, name, close)
    assert closed.state == "closed"
    assert await change_account(world.router, name, close) == closed
    again: list[Callable[[], Awaitable[Any]]] = [
        lambda: change_account(world.router, name, freeze),
        lambda: change_account(world.router, name, unfreeze),
        lambda: open_account(world.router, asked),
        lambda: open_account(world.router, someone(name, name="Eve")),
    ]
    for attempt in again:
        assert (await refusal(attempt())).code == "account_closed"
    version = 3 if frozen_before else 2
    assert await standing(world, name) == ("closed", version)
    assert (await events(world, name))[-1] == ("AccountClosed", version)


@pytest.mark.parametrize("change", [freeze, unfreeze, close])
async def test_an_account_that_belongs_to_no_customer_has_no_state_to_change(world: World, change: Change) -> None:
    await world.customer()
    for nobody in ("nobody", "equity/USD", "clearing/USD"):
        assert (await refusal(change_account(world.router, nobody, change))).code == "unknown_account"


async def test_a_change_is_fenced(world: World) -> None:
    """A shard that lost the account's bucket refuses the change, and does not decide it by its own rows."""
    name = await world.customer("0.00")
    route = await world.customer_route(name)
    fence = "UPDATE ownership SET state = :state WHERE keyspace = 'bucket' AND slot = :slot"
    await world.rows(route.shard, fence, state="fenced", slot=route.slot)
    try:
        for change in (freeze, close):
            with pytest.raises(Exception, match="does not own"):
                await change_account(world.router, name, change)
    finally:
        await world.rows(route.shard, fence, state="owned", slot=route.slot)
    assert await standing(world, name) == ("open", 1)


# ── two at once ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_account_that_is_closed_first_admits_no_transfer(world: World) -> None:
    transfer = await transfer_across(world)
    route = await world.customer_route(transfer.target)
    async with world.transaction(route) as tx:
        answer = await close(tx, transfer.target)
        admitting = asyncio.create_task(world.transfers.admit_transfer(transfer))
        await world.until_waiting(route.shard)
    assert isinstance(answer, AccountBalance)
    admitted = await admitting
    assert admitted.refusal == Refusal(Reason.ACCOUNT_NOT_OPEN, f"account {transfer.target} is closed")


async def test_a_transfer_that_is_admitted_first_keeps_the_account_from_closing(world: World) -> None:
    transfer = await transfer_across(world)
    await world.transfers.open_transfer(OpenTransfer(transfer))
    route = await world.customer_route(transfer.target)
    async with world.transaction(route) as tx:
        assert await admissions.admit(tx, transfer) is None
        closing = asyncio.create_task(change_account(world.router, transfer.target, close))
        await world.until_waiting(route.shard)
    assert (await refusal(closing)).code == "account_has_open_admissions"


async def test_an_account_that_is_closed_first_lets_nothing_be_held(world: World) -> None:
    """With an overdraft, so that an empty account could be held on."""
    asked = someone(await world.new_name(), overdraft="1.00")
    await open_account(world.router, asked)
    name = asked.customer_id
    route = await world.customer_route(name)
    async with world.transaction(route) as tx:
        answer = await close(tx, name)
        holding = asyncio.create_task(hold(world, name, f"test/{name}"))
        await world.until_waiting(route.shard)
    assert isinstance(answer, AccountBalance)
    assert await holding == Refusal(Reason.ACCOUNT_NOT_OPEN, f"account {name} is closed")


async def test_a_hold_that_comes_first_keeps_the_account_from_closing(world: World) -> None:
    asked = someone(await world.new_name(), overdraft="1.00")
    await open_account(world.router, asked)
    name = asked.customer_id
    route = await world.customer_route(name)
    async with world.transaction(route) as tx:
        account = await holds.lock_account(tx, name)
        assert account is not None
        assert isinstance(await holds.place_hold(tx, f"test/{name}", "test", account, DOLLAR), int)
        closing = asyncio.create_task(change_account(world.router, name, close))
        await world.until_waiting(route.shard)
    assert (await refusal(closing)).code == "account_has_holds"


@pytest.mark.parametrize("freeze_first", [True, False])
async def test_a_freeze_and_an_admission_that_meet(world: World, freeze_first: bool) -> None:
    transfer = await transfer_across(world)
    route = await world.customer_route(transfer.target)
    if freeze_first:
        async with world.transaction(route) as tx:
            await freeze(tx, transfer.target)
            admitting = asyncio.create_task(world.transfers.admit_transfer(transfer))
            await world.until_waiting(route.shard)
        refused = (await admitting).refusal
        assert refused is not None
        assert refused.reason is Reason.ACCOUNT_NOT_OPEN
        return
    async with world.transaction(route) as tx:
        assert await admissions.admit(tx, transfer) is None
        freezing = asyncio.create_task(change_account(world.router, transfer.target, freeze))
        await world.until_waiting(route.shard)
    assert (await freezing).state == "frozen"
    assert (await world.transfers.admit_transfer(transfer)).refusal is None


async def test_a_change_that_does_not_get_its_turn_is_refused_and_changes_nothing(world: World) -> None:
    """It waits for a transaction that keeps the account's row locked, as a prepared one does."""
    name = await world.customer()
    async with world.transaction(await world.customer_route(name)) as tx:
        await holds.lock_account(tx, name)
        with pytest.raises(Unreachable) as unreachable:
            await change_account(world.router, name, freeze)
    assert (unreachable.value.code, unreachable.value.exit_code) == ("account_busy", 3)
    assert name in unreachable.value.message
    assert await standing(world, name) == ("open", 1)


async def test_many_transfers_of_one_account_while_it_is_frozen_and_thawed_never_lock_each_other_out(
    world: World,
) -> None:
    """Neither a deadlock nor a lost freeze: each transfer is settled or declined, and the books agree."""
    source, target = await world.customer("50.00", shard="shard-1"), await world.customer("0.00", shard="shard-1")
    transfers = [Transfer(f"T{n}", source, target, DOLLAR) for n in range(40)]

    async def change_over_and_over() -> None:
        for change in (freeze, unfreeze) * 10:
            await change_account(world.router, source, change)

    # With the two that change it, no more than have connections: this is about locks.
    turns = asyncio.Semaphore(6)

    async def opened(transfer: Transfer) -> OpenedTransfer:
        async with turns:
            return await world.transfers.open_transfer(OpenTransfer(transfer))

    *answers, _, _ = await asyncio.gather(*map(opened, transfers), change_over_and_over(), change_over_and_over())
    settled = [each for each in answers if each is not None and each.state is TransferState.CONFIRMED]
    declined = [each.refusal.reason for each in answers if each is not None and each.refusal is not None]
    assert len(settled) + len(declined) == 40
    assert set(declined) <= {Reason.ACCOUNT_NOT_OPEN}
    assert await world.money_of(target) == (100 * len(settled), 0)
    assert await world.violations() == []
