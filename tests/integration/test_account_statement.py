"""An account's statement: every way in which money comes and goes, and the balance each left behind."""

from __future__ import annotations

import pytest

from activities.interfaces import DecideTransfer, OpenTransfer
from domain.errors import Refused
from domain.money import Money
from domain.transfers import Protocol, Transfer
from shards.accounts.statement import Statement, read_statement
from tests.support.world import World

Line = tuple[str, str, str, str, str]


async def statement(world: World, account_id: str, limit: int = 50) -> Statement:
    shard = (await world.router.map()).of_account(account_id).shard
    async with world.cluster.primaries[shard].snapshot() as connection:
        return await read_statement(connection, account_id, limit)


def lines(statement: Statement) -> list[Line]:
    return [
        (line.kind, line.saga_id, line.amount.amount, line.balance_after.amount, line.other_side)
        for line in statement.lines
    ]


async def transfer_across(world: World, transfer: Transfer) -> None:
    await world.transfers.open_transfer(OpenTransfer(transfer))
    await world.transfers.admit_transfer(transfer)
    assert (await world.transfers.decide_transfer(DecideTransfer(transfer, Protocol.SAGA))).is_confirmed
    await world.transfers.credit_transfer(transfer)


@pytest.fixture
async def story(world: World) -> tuple[str, list[Line]]:
    """An account through which money came and went in every way but by batch and by two-phase commit."""
    name, beside = await world.customer("10.00", shard="shard-1"), await world.customer("5.00", shard="shard-1")
    away = await world.customer("5.00", shard="shard-3")
    sent, received = Transfer("S", name, away, Money(150, "USD")), Transfer("R", away, name, Money(25, "USD"))
    to_beside, from_beside = Transfer("L", name, beside, Money(1, "USD")), Transfer("L", beside, name, Money(2, "USD"))
    saga = await world.saga(world.order(name, {"a": 3}))
    await saga.open()
    await saga.decide()
    await transfer_across(world, sent)
    await transfer_across(world, received)
    for local in (to_beside, from_beside):
        await world.transfers.open_transfer(OpenTransfer(local))
    return name, [
        ("transfer", from_beside.saga_id, "0.02", "5.76", beside),
        ("transfer", to_beside.saga_id, "-0.01", "5.74", beside),
        ("credit", received.saga_id, "0.25", "5.75", away),
        ("capture", sent.saga_id, "-1.50", "5.50", away),
        ("capture", saga.saga_id, "-3.00", "7.00", saga.merchant),
        ("opening", f"opening/{name}", "10.00", "10.00", "equity/USD"),
    ]


async def test_each_movement_has_its_balance_and_the_other_side(world: World, story: tuple[str, list[Line]]) -> None:
    name, expected = story
    found = await statement(world, name)
    assert lines(found) == expected
    assert found.balance == found.lines[0].balance_after == Money(576, "USD")
    assert sorted((line.at for line in found.lines), reverse=True) == [line.at for line in found.lines]


@pytest.mark.parametrize("limit", range(1, 8))
async def test_a_shorter_statement_shows_the_same_of_the_newest(
    world: World, story: tuple[str, list[Line]], limit: int
) -> None:
    name, expected = story
    assert lines(await statement(world, name, limit)) == expected[:limit]


async def test_held_money_is_in_no_statement_before_it_goes(world: World) -> None:
    saga = await world.saga(world.order(await world.customer("10.00"), {"a": 3}))
    await saga.open()
    assert [line[0] for line in lines(await statement(world, saga.order.customer_id))] == ["opening"]


async def test_an_account_without_movements_has_an_empty_statement(world: World) -> None:
    found = await statement(world, await world.customer("0.00", "JPY"))
    assert (found.lines, found.balance) == ((), Money(0, "JPY"))


async def test_a_merchant_has_a_statement(world: World) -> None:
    saga = await world.saga(world.order(await world.customer("10.00"), {"a": 3}))
    await saga.open()
    await saga.decide()
    await saga.credit()
    newest = lines(await statement(world, saga.merchant, 1))[0]
    assert newest[:3] == ("credit", saga.saga_id, "3.00")
    assert newest[4] == saga.order.customer_id


@pytest.mark.parametrize("nobody", ["nobody", "equity/USD", "clearing/USD"])
async def test_a_customer_without_an_account_has_no_statement(world: World, nobody: str) -> None:
    await world.customer("1.00")
    with pytest.raises(Refused) as refused:
        await statement(world, nobody)
    assert (refused.value.code, refused.value.field) == ("unknown_account", "account_id")
