"""A lease for as long as a block runs, what programs get of it, and the usual lock that it is there instead of."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from domain.errors import Unreachable
from domain.leases import Wanted
from shards.leases.fence import raise_fence
from shards.leases.keeping import held_lease
from shards.leases.leases import Leases
from shards.routing.bulk_transaction import bulk_on
from shardwise import LeaseLost, Refused, Shardwise
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.conftest import FreshCluster
from tests.support.world import World

_names = itertools.count(1)
SHARD = "shard-1"


@pytest.fixture
def name() -> str:
    return f"held-{next(_names)}"


async def test_it_is_renewed_while_the_block_runs_and_released_after_it(world: World, name: str) -> None:
    of = Leases(world.router)
    async with held_lease(of, name, Wanted("one", seconds=0.6)) as lease:
        [first] = (await of.read(name)).holders
        async for _ in attempts(10):
            if (await of.read(name)).holders[0].expires_at > first.expires_at:
                break
        assert (await of.read(name)).holders[0].token == lease.token == 1
    assert (await of.read(name)).holders == []


async def test_a_block_whose_lease_somebody_else_has_is_cancelled(world: World, name: str) -> None:
    of = Leases(world.router)

    async def hold() -> None:
        async with held_lease(of, name, Wanted("one", seconds=0.6)) as lease:
            # As if this process had been stopped for long.
            await of.release(name, "one", lease.token)
            await of.acquire(name, Wanted("two"))
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost, match="could not be renewed in time"):
        await hold()
    assert [each.holder for each in (await of.read(name)).holders] == ["two"]


async def test_a_block_whose_lease_cannot_be_renewed_ends_with_it(
    world: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = Leases(world.router)

    async def away(*_: object) -> None:
        raise Unreachable("shard_unreachable", "it does not answer")

    async def hold() -> None:
        async with held_lease(of, name, Wanted("one", seconds=0.3)):
            monkeypatch.setattr(Leases, "renew", away)
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await hold()


async def test_the_error_of_a_block_is_its_own(world: World, name: str) -> None:
    of = Leases(world.router)
    with pytest.raises(TimeoutError):
        async with held_lease(of, name, Wanted("one")):
            raise TimeoutError
    assert (await of.read(name)).holders == []


@pytest.fixture(scope="module")
async def app(fresh_cluster: FreshCluster) -> AsyncIterator[Shardwise]:
    async with fresh_cluster() as made:
        settings = Settings(
            shards=made.shards,
            catalog_dsn=made.catalog,
            read_model_dsn=made.read_model,
        )
        async with await Shardwise.connect(settings=settings) as app:
            yield app


async def test_a_program_takes_shows_renews_and_releases_a_lease(app: Shardwise) -> None:
    lease = await app.locks.acquire("report", seconds=5)
    assert (await app.locks.show("report")).holders == [lease]
    with pytest.raises(Refused, match="held by"):
        await app.locks.acquire("report")
    assert (await app.locks.renew("report", lease.holder, lease.token)).expires_at > lease.expires_at
    assert (await app.locks.release("report", lease.holder, lease.token)).holders == []
    async with app.locks.held("report", mode="shared") as one, app.locks.held("report", mode="shared") as two:
        assert one.token == two.token == 2
    assert (await app.locks.show("report")).holders == []
    assert (await app.locks.show("shardwise/staging")).token == 0
    with pytest.raises(LeaseLost):
        await app.locks.renew("report", lease.holder, lease.token)


# ── the usual lock: a time to live, no fence, released by check-then-delete ─────────────────────────────────


class UsualLock:
    """As it is often written over a key with a time to live."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def take(self, owner: str) -> bool:
        taken = """
            INSERT INTO usual_lock AS l (key, owner, ends) VALUES ('k', :owner, clock_timestamp() + '30 s')
            ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, ends = excluded.ends
            WHERE l.ends < clock_timestamp()
            RETURNING owner
        """
        return await self._world.rows(SHARD, taken, owner=owner) != []

    async def is_of(self, owner: str) -> bool:
        return await self._world.rows(SHARD, "SELECT owner FROM usual_lock") == [(owner,)]

    async def delete(self) -> None:
        await self._world.rows(SHARD, "DELETE FROM usual_lock")

    async def run_out(self) -> None:
        await self._world.rows(SHARD, "UPDATE usual_lock SET ends = clock_timestamp() - interval '1 s'")


@pytest.fixture
async def usual(world: World) -> AsyncIterator[UsualLock]:
    await world.as_owner(
        SHARD,
        "CREATE TABLE usual_lock (key text PRIMARY KEY, owner text, ends timestamptz)",
        "CREATE TABLE counter AS SELECT 0 AS value",
        "GRANT ALL ON usual_lock, counter TO PUBLIC",
    )
    yield UsualLock(world)
    await world.as_owner(SHARD, "DROP TABLE usual_lock, counter")


async def test_the_usual_lock_loses_a_write(world: World, usual: UsualLock) -> None:
    """Each adds one under the lock; the first is stopped between reading and writing, for longer than its time."""
    assert await usual.take("one")
    assert not await usual.take("two")
    [(seen_by_one,)] = await world.rows(SHARD, "SELECT value FROM counter")
    assert await usual.is_of("one")
    await usual.run_out()
    assert await usual.take("two")
    await world.rows(SHARD, "UPDATE counter SET value = value + 1")
    await usual.delete()
    # It has looked, it was stopped, it writes.
    await world.rows(SHARD, "UPDATE counter SET value = :value", value=seen_by_one + 1)
    assert await world.rows(SHARD, "SELECT value FROM counter") == [(1,)], "two have added one, and one of them is lost"


async def test_the_usual_lock_is_deleted_by_who_does_not_have_it(usual: UsualLock) -> None:
    assert await usual.take("one")
    assert await usual.is_of("one")
    await usual.run_out()
    assert await usual.take("two")
    await usual.delete()  # Of `one`, which has looked before.
    assert await usual.take("three"), "two and three have it"


async def test_the_same_under_a_lease_loses_nothing(world: World, usual: UsualLock, name: str) -> None:
    of = Leases(world.router)
    one = await of.acquire(name, Wanted("one"))
    [(seen_by_one,)] = await world.rows(SHARD, "SELECT value FROM counter")
    await world.everywhere(
        "UPDATE lease_holder SET granted_at = '-infinity', expires_at = now() WHERE name = :n", n=name
    )
    two = await of.acquire(name, Wanted("two"))

    async def set_counter(token: int, value: str) -> None:
        async with bulk_on(world.cluster.shards[SHARD]) as tx:
            await raise_fence(tx, name, token)
            await tx.connection.exec_driver_sql(f"UPDATE counter SET value = {value}")

    await set_counter(two.token, "value + 1")
    with pytest.raises(LeaseLost):
        await set_counter(one.token, str(seen_by_one + 1))
    with pytest.raises(LeaseLost):
        await of.release(name, "one", one.token)
    assert await world.rows(SHARD, "SELECT value FROM counter") == [(1,)]
    assert [each.holder for each in (await of.read(name)).holders] == ["two"]
