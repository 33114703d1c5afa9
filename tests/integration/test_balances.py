"""`report balances`: every cent of every shard, also of what is between them, whoever is away."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from sqlalchemy import text

from domain.errors import Unreachable
from domain.limits import PAGE_ROWS_MAX
from shards.accounts import reads
from shards.connections.database import Database
from shards.read_model.pages import PageAfter
from shards.reports.balances import Sums, accounts_of, read_parts, sums_of
from shards.reports.scatter import scatter
from stack.embedded.waiting import attempts
from tests.support.postgres import owned
from tests.support.world import World

ALL: PageAfter[str] = PageAfter(PAGE_ROWS_MAX)
SECONDS = 10.0
NOBODY_LISTENS = "postgresql://somebody@127.0.0.1:1/nothing"


async def sums(world: World) -> Sums:
    """Of all shards, in USD; balanced."""
    found = await read_parts(world.cluster.primaries, ALL, True, SECONDS)
    assert not found.missing
    for part in found.answers.values():
        for of_shard in part.sums.values():
            assert_balanced(of_shard)
    together = sums_of(found.answers.values())["USD"]
    assert_balanced(together)
    return together


def assert_balanced(of: Sums) -> None:
    assert of.customers + of.merchants + of.clearing == of.paid_in


async def test_money_is_counted_wherever_it_is(world: World) -> None:
    source, target = await world.customer("100.00", shard="shard-1"), await world.customer("0.00", shard="shard-2")
    opened = await sums(world)
    transfer = await world.transfer(source, target, "10.00")
    await transfer.open()
    held = await sums(world)
    assert (held.customers, held.held, held.clearing) == (opened.customers, opened.held + 1000, opened.clearing)
    await transfer.admit()
    await transfer.decide()
    sent = await sums(world)
    assert (sent.customers, sent.held, sent.clearing) == (opened.customers - 1000, opened.held, opened.clearing + 1000)
    await transfer.credit()
    assert await sums(world) == opened
    await world.customer("5.00")
    more = await sums(world)
    assert (more.accounts, more.paid_in) == (opened.accounts + 1, opened.paid_in + 500)


async def test_every_answer_balances_while_money_moves(world: World) -> None:
    names = [await world.customer("100.00", shard=shard) for shard in ("shard-1", "shard-2", "shard-3")]
    paid_in = (await sums(world)).paid_in

    async def move(source: str, target: str) -> None:
        for _ in range(4):
            transfer = await world.transfer(source, target, "1.00")
            await transfer.open()
            await transfer.admit()
            await transfer.decide()
            await transfer.credit()

    moving = asyncio.gather(*(move(one, other) for one in names for other in names if one != other))
    while not moving.done():
        assert (await sums(world)).paid_in == paid_in
    await moving


async def test_pages_are_merged_by_id_and_lose_and_repeat_nothing(world: World) -> None:
    made = [await world.customer(shard=shard) for shard in ("shard-1", "shard-2", "shard-3") for _ in range(2)]
    listed: list[str] = []
    page: PageAfter[str] = PageAfter(7)
    while True:
        found = await read_parts(world.cluster.primaries, page, False, SECONDS)
        assert [dict(part.sums) for part in found.answers.values()] == [{}, {}, {}]
        accounts = accounts_of(found.answers.values(), page)
        listed += [each.account_id for each in accounts.rows]
        if accounts.next is None:
            break
        assert len(accounts.rows) == 7
        page = PageAfter(7, accounts.next)
    everybody = await world.everywhere("SELECT id FROM account WHERE kind IN ('customer', 'merchant')")
    assert listed == sorted(row[0] for row in everybody)
    assert set(made) <= set(listed)


async def test_a_page_is_read_by_its_index(world: World) -> None:
    explain = text(f"EXPLAIN (FORMAT JSON) {reads._PAGE.text}")
    async with world.cluster.primaries["shard-1"].transaction() as connection:
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        found = (await connection.execute(explain, {"after": "C", "limit": 50})).scalar_one()
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    assert (plan["Node Type"], plan["Plans"][0].get("Index Name")) == ("Limit", "account_page"), plan


async def test_a_shard_that_is_away_is_named_and_the_others_answer(world: World) -> None:
    away = Database("shard-2", NOBODY_LISTENS)
    found = await read_parts({**world.cluster.primaries, "shard-2": away}, ALL, True, SECONDS)
    await away.close()
    assert list(found.answers) == ["shard-1", "shard-3"]
    assert [(name, type(error)) for name, error in found.missing.items()] == [("shard-2", Unreachable)]
    assert "shard-2 does not answer" in str(found.missing["shard-2"])
    for part in found.answers.values():
        for of_shard in part.sums.values():
            assert_balanced(of_shard)


async def test_a_shard_that_takes_too_long_is_missing_and_goes_on_with_nothing(world: World) -> None:
    lock = "LOCK TABLE account IN ACCESS EXCLUSIVE MODE"
    running = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state = 'active' AND query LIKE '%FROM account AS a%'
            AND pid <> pg_backend_pid()
    """
    async with owned(world.cluster.primaries["shard-2"]) as owner, owner.transaction() as other:
        await other.execute(text(lock))
        found = await read_parts(world.cluster.primaries, ALL, True, 0.3)
        assert list(found.answers) == ["shard-1", "shard-3"]
        assert "shard-2 did not answer" in str(found.missing["shard-2"])
        async for _ in attempts(SECONDS):
            if (await other.execute(text(running))).scalar_one() == 0:
                break
        else:
            raise AssertionError("the server goes on with what nobody waits for")
    assert len((await read_parts(world.cluster.primaries, ALL, True, SECONDS)).answers) == 3


async def test_shards_are_asked_some_at_a_time_and_each_in_its_time(world: World) -> None:
    shards = {f"shard-{number}": Database(f"shard-{number}", NOBODY_LISTENS) for number in range(5)}
    working = at_most = 0
    gone = asyncio.Event()

    async def ask(shard: Database) -> str:
        nonlocal working, at_most
        working += 1
        at_most = max(at_most, working)
        try:
            if shard.name == "shard-3":
                await gone.wait()
            await asyncio.sleep(0)
            return shard.name.upper()
        finally:
            working -= 1

    found: Any = await scatter(shards, ask, 0.2, at_once=2)
    assert at_most == 2
    assert list(found.answers.values()) == ["SHARD-0", "SHARD-1", "SHARD-2", "SHARD-4"]
    assert str(found.missing["shard-3"]) == "shard-3 did not answer within 0.2 s"
    for shard in shards.values():
        await shard.close()
