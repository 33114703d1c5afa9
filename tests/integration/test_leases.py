"""Leases on real servers: who has one, in which order, and that nobody writes under an old grant."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain.errors import Refused, Unreachable
from domain.leases import InstallationLease, LeaseLost, Mode, Wanted
from shards.leases import lease_rows, leases
from shards.leases.fence import RAISED, Executes, raise_fence, read_fence
from shards.leases.leases import Leases
from shards.routing.bulk_transaction import bulk_on
from stack.embedded.waiting import attempts
from tests.support.world import World

_names = itertools.count(1)
SHARD = "shard-1"

_WRITE = text("UPDATE protected SET tokens = tokens || CAST(:token AS bigint) WHERE name = :lease")
_FENCED_WRITE = text(f"WITH {RAISED} {_WRITE.text} AND EXISTS (SELECT FROM raised)")
_HOLD = """
    WITH opened AS (INSERT INTO lease (name) VALUES ('bad-1') RETURNING name)
    INSERT INTO lease_holder (name, holder, mode, token, expires_at)
"""


@pytest.fixture
def name() -> str:
    return f"lease-{next(_names)}"


@pytest.fixture(scope="module")
async def protected(world: World) -> AsyncIterator[None]:
    """Rows that remember under which tokens they were written."""
    await world.as_owner(
        SHARD,
        "CREATE TABLE protected (name text PRIMARY KEY, tokens bigint[] NOT NULL DEFAULT '{}')",
        "GRANT ALL ON protected TO PUBLIC",
    )
    yield
    await world.as_owner(SHARD, "DROP TABLE protected")


async def tokens_of(world: World, name: str) -> list[int]:
    return list((await world.rows(SHARD, "SELECT tokens FROM protected WHERE name = :name", name=name))[0][0])


async def expire(world: World, name: str) -> None:
    """As if the time of its holders were over."""
    sql = """
        UPDATE lease_holder SET granted_at = granted_at - interval '1 day', expires_at = expires_at - interval '1 day'
        WHERE name = :name
    """
    await world.everywhere(sql, name=name)


# ── who has it ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_is_granted_renewed_shown_and_released(world: World, name: str) -> None:
    of = Leases(world.router)
    first = await of.acquire(name, Wanted("one", seconds=10))
    assert (first.token, first.mode, first.expires_at - first.granted_at) == (1, Mode.EXCLUSIVE, timedelta(seconds=10))
    assert await of.acquire(name, Wanted("one", seconds=99)) == first
    with pytest.raises(Refused, match="held by one until") as refused:
        await of.acquire(name, Wanted("two"))
    assert refused.value.code == "lease_held"
    renewed = await of.renew(name, "one", 1, 60)
    assert timedelta(seconds=59) < renewed.expires_at - first.granted_at < timedelta(seconds=70)
    assert (await of.renew(name, "one", 1, 5)).expires_at == renewed.expires_at
    assert (await of.read(name)).holders == [renewed]
    assert (await of.release(name, "one", 1)).holders == []
    assert (await of.release(name, "one", 1)).token == 1
    assert (await of.acquire(name, Wanted("two"))).token == 2


async def test_only_the_owner_renews_and_releases(world: World, name: str) -> None:
    of = Leases(world.router)
    lease = await of.acquire(name, Wanted("one"))
    for holder, token in [("two", lease.token), ("one", lease.token + 1)]:
        with pytest.raises(LeaseLost):
            await of.renew(name, holder, token, 60)
        with pytest.raises(LeaseLost, match="held by one"):
            await of.release(name, holder, token)
    assert (await of.read(name)).holders == [lease]


async def test_what_has_expired_is_over_and_is_removed_by_the_next_who_comes(world: World, name: str) -> None:
    of = Leases(world.router)
    old = await of.acquire(name, Wanted("one"))
    await expire(world, name)
    assert (await of.read(name)).holders == []
    with pytest.raises(LeaseLost):
        await of.renew(name, "one", old.token, 60)
    new = await of.acquire(name, Wanted("two"))
    assert new.token == old.token + 1
    with pytest.raises(LeaseLost, match="held by two"):
        await of.release(name, "one", old.token)
    assert await world.everywhere("SELECT holder FROM lease_holder WHERE name = :name", name=name) == [("two",)]


async def test_sharers_hold_it_together_and_an_exclusive_waiter_comes_before_the_next_sharer(
    world: World, name: str
) -> None:
    of = Leases(world.router)
    one, two = [await of.acquire(name, Wanted(each, Mode.SHARED)) for each in ("one", "two")]
    writer = asyncio.create_task(of.acquire(name, Wanted("writer", wait_seconds=20)))
    await _until(lambda: _waiters(of, name), ["writer"])
    late = asyncio.create_task(of.acquire(name, Wanted("late", Mode.SHARED, wait_seconds=20)))
    await _until(lambda: _waiters(of, name), ["writer", "late"])
    await of.release(name, "one", one.token)
    await of.release(name, "two", two.token)
    written = await writer
    assert not late.done()
    await of.release(name, "writer", written.token)
    assert [one.token, two.token, written.token, (await late).token] == [1, 1, 2, 3]


async def test_who_waits_too_long_or_is_cancelled_leaves_the_queue(world: World, name: str) -> None:
    of = Leases(world.router)
    await of.acquire(name, Wanted("one"))
    with pytest.raises(Refused, match="is not free: held by one") as refused:
        await of.acquire(name, Wanted("two", wait_seconds=0.1))
    assert refused.value.code == "lease_held"
    cancelled = asyncio.create_task(of.acquire(name, Wanted("three", wait_seconds=60)))
    await _until(lambda: _waiters(of, name), ["three"])
    cancelled.cancel()
    await asyncio.wait([cancelled])
    assert await world.everywhere("SELECT holder FROM lease_waiter WHERE name = :name", name=name) == []


async def test_a_release_does_not_queue_behind_those_who_ask(world: World, name: str) -> None:
    of = Leases(world.router)
    lease = await of.acquire(name, Wanted("one"))
    shard = (await world.router.map()).of_lease(name).shard
    async with bulk_on(world.cluster.shards[shard]) as asking:
        await lease_rows.acquire(asking, name, Wanted("two"))
        async with asyncio.timeout(2):
            await of.release(name, "one", lease.token)


async def test_the_installations_leases_are_in_the_catalog(world: World) -> None:
    of = Leases(world.router)
    lease = await of.acquire(InstallationLease.STAGING, Wanted("one"))
    assert (await of.read(InstallationLease.STAGING)).holders == [lease]
    assert await world.everywhere("SELECT FROM lease WHERE name = :name", name=InstallationLease.STAGING) == []
    await of.release(InstallationLease.STAGING, "one", lease.token)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO lease (name) VALUES ('a b')",
        "INSERT INTO lease (name, token) VALUES ('bad-1', -1)",
        "INSERT INTO lease (name, token, mode) VALUES ('bad-1', 1, 'both')",
        "INSERT INTO lease (name, token) VALUES ('bad-1', 1)",
        "INSERT INTO fence (name, token) VALUES ('bad-1', 0)",
        "INSERT INTO fence (name, token) VALUES ('other/name', 1)",
        f"{_HOLD} SELECT name, 'a b', 'shared', 1, now() + '1 s' FROM opened",
        f"{_HOLD} SELECT name, 'a', 'shared', 1, now() FROM opened",
        f"{_HOLD} SELECT name, two, 'exclusive', 1, now() + '1 s' FROM opened, (VALUES ('a'), ('b')) AS x(two)",
    ],
)
async def test_the_tables_refuse_what_the_rules_refuse(world: World, statement: str) -> None:
    with pytest.raises(DBAPIError, match=r"violates check|duplicate key"):
        await world.rows(SHARD, statement)


# ── the fence ───────────────────────────────────────────────────────────────────────────────────────────────


async def by_select(tx: Executes, lease: str, token: int) -> None:
    """The usual wrong fence: it compares, and locks nothing."""
    assert await read_fence(tx, lease) <= token


@pytest.mark.parametrize(("fence", "written"), [(raise_fence, [1, 2]), (by_select, [2, 1])])
async def test_a_holder_that_stops_between_fence_and_write_never_writes_last(
    world: World,
    protected: None,
    name: str,
    fence: Callable[[Executes, str, int], Awaitable[None]],
    written: list[int],
) -> None:
    """Nor does the one that compares by SELECT pass this test: the order in which it writes is the wrong one."""
    await world.rows(SHARD, "INSERT INTO protected (name) VALUES (:name)", name=name)

    async def write_under_the_next_grant() -> None:
        async with bulk_on(world.cluster.shards[SHARD]) as tx:
            await raise_fence(tx, name, 2)
            await tx.execute(_WRITE, lease=name, token=2)

    async with bulk_on(world.cluster.shards[SHARD]) as stopped:
        await fence(stopped, name, 1)
        following = asyncio.create_task(write_under_the_next_grant())
        if fence is raise_fence:
            await world.until_waiting(SHARD)
        else:
            await following
        await stopped.execute(_WRITE, lease=name, token=1)
    await following
    assert await tokens_of(world, name) == written


async def test_a_write_of_an_earlier_grant_is_refused_in_its_own_statement(
    world: World, protected: None, name: str
) -> None:
    await world.rows(SHARD, "INSERT INTO protected (name) VALUES (:name)", name=name)
    for token, is_written in [(1, 1), (1, 1), (3, 1), (2, 0), (3, 1)]:
        async with bulk_on(world.cluster.shards[SHARD]) as tx:
            assert (await tx.execute(_FENCED_WRITE, lease=name, token=token)).rowcount == is_written
    with pytest.raises(LeaseLost, match="granted again since token 2"):
        async with bulk_on(world.cluster.shards[SHARD]) as tx:
            await raise_fence(tx, name, 2)
    assert await tokens_of(world, name) == [1, 1, 3, 3]


# ── many of them, some of which die ─────────────────────────────────────────────────────────────────────────


async def test_contenders_some_of_which_die_write_in_the_order_of_their_tokens(
    world: World, protected: None, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that dies keeps its lease, and writes once more when it is over; a waiter that dies stays in the queue.
    The clients' clocks are wrong, and step."""
    await world.rows(SHARD, "INSERT INTO protected (name) VALUES (:name)", name=name)
    monkeypatch.setattr(lease_rows, "LAPSES_AFTER", timedelta(seconds=2))
    monkeypatch.setattr(leases, "POLL_SECONDS_MAX", 0.5)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + random.uniform(-1e6, 1e6))
    chance, of = random.Random(1), Leases(world.router)
    granted: list[int] = []
    refused: list[int] = []
    late: list[Callable[[], Awaitable[None]]] = []

    async def write(token: int) -> None:
        async with bulk_on(world.cluster.shards[SHARD]) as tx:
            if (await tx.execute(_FENCED_WRITE, lease=name, token=token)).rowcount == 0:
                refused.append(token)

    async def contend(number: int) -> None:
        for turn in range(2 if number % 5 == 0 else 1):
            lease = await of.acquire(name, Wanted(f"c{number}-{turn}", seconds=0.3, wait_seconds=60))
            granted.append(lease.token)
            await write(lease.token)
            if chance.random() < 0.1:
                late.append(partial(write, lease.token))
                continue
            with contextlib.suppress(LeaseLost):  # On a machine this busy, its time can be over.
                await of.release(name, lease.holder, lease.token)
            if late and chance.random() < 0.5:
                await late.pop()()

    async with asyncio.timeout(60):
        await asyncio.gather(*map(contend, range(25)))
    for write_again in late:
        await write_again()
    assert len(granted) == len(set(granted))
    written = await tokens_of(world, name)
    assert written == sorted(written)
    assert refused


async def test_grants_come_in_the_order_of_arrival(world: World, name: str) -> None:
    of, order = Leases(world.router), []
    first = await of.acquire(name, Wanted("first"))

    async def wait(holder: str) -> None:
        lease = await of.acquire(name, Wanted(holder, wait_seconds=30))
        order.append(holder)
        await of.release(name, holder, lease.token)

    arrived = []
    for number in range(8):
        arrived.append(asyncio.create_task(wait(f"c{number}")))
        await _until(lambda: _waiters(of, name), [f"c{each}" for each in range(number + 1)])
    await of.release(name, "first", first.token)
    await asyncio.gather(*arrived)
    assert order == [f"c{number}" for number in range(8)]


# ── a server that was restored ──────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_was_started_again_grants_above_every_fence_or_not_at_all(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Leases(world.router)
    lease = await of.acquire(name, Wanted("one"))
    await of.release(name, "one", lease.token)
    # As an older copy of the row would be: of another start, behind a fence on another shard.
    forget = "UPDATE lease SET server_started = server_started - interval '1 day' WHERE name = :name"
    await world.everywhere(forget, name=name)
    home = (await world.router.map()).of_lease(name).shard
    elsewhere = next(each for each in world.cluster.shards if each != home)
    async with bulk_on(world.cluster.shards[elsewhere]) as tx:
        await raise_fence(tx, name, 41)

    with monkeypatch.context() as away:
        away.setattr(world.cluster.primaries[elsewhere]._breaker, "check", _is_away)
        with pytest.raises(Unreachable, match="while a server that can have its fence is away") as refused:
            await of.acquire(name, Wanted("two"))
        assert refused.value.code == "fence_unreachable"
    granted = await of.acquire(name, Wanted("two"))
    assert granted.token > 41
    await of.release(name, "two", granted.token)
    assert (await of.acquire(name, Wanted("two"))).token == granted.token + 1


def _is_away() -> None:
    raise Unreachable("shard_unreachable", "it does not answer")


async def _waiters(of: Leases, name: str) -> list[str]:
    return [each.holder for each in (await of.read(name)).waiters]


async def _until(look: Callable[[], Awaitable[object]], expected: object) -> None:
    async for _ in attempts(10):
        if await look() == expected:
            return
    raise AssertionError(f"it did not come to {expected}")
