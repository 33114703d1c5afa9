"""The outbox as its readers see it: nothing skipped, transactions whole, nothing trimmed that somebody still needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.testing import ActivityEnvironment

from activities.interfaces import FollowShard
from activities.relay import ShardedRelayActivities
from domain.events import TransferEvent
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.outbox.appending import append_event
from shards.outbox.cursors import REACTORS, RebuildNeeded, move_position, read_position, trim, trimmed_to
from shards.outbox.following import POLL_SECONDS, follow
from shards.outbox.lag import lag_of
from shards.outbox.slice import BEGINNING, WITHIN, Slice, Taken, has_events_after, slice_from
from shards.outbox.trimming import Trimmer, slowest_position
from shards.projection.projector import Projector
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from shards.tables.versions import Version
from stack.embedded.waiting import attempts

SHARD = "shard-1"
GID = "shardwise:of-a-test:source"

_APPEND = text("""
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    VALUES ('shard-1', 'a saga', 'transfer', :about, 1, 'TransferOpened', '{}')
""")
_TAKEN = text(f"SELECT aggregate_id FROM outbox WHERE {WITHIN} ORDER BY id")


@pytest.fixture
def shard(cluster: Cluster) -> Database:
    return cluster.primaries[SHARD]


async def append(connection: AsyncConnection, *about: str) -> None:
    for each in about:
        await connection.execute(_APPEND, {"about": each})


async def taken(shard: Database, after: str, events_max: int = 1000) -> tuple[list[str], Slice, bool]:
    async with shard.snapshot() as snapshot:
        slice_ = await slice_from(snapshot, after, events_max)
        rows = await snapshot.execute(_TAKEN, slice_.bound)
        return list(rows.scalars()), slice_, await has_events_after(snapshot, slice_)


@asynccontextmanager
async def prepared(shard: Database, about: str) -> AsyncIterator[None]:
    """A transaction with an event that is prepared and not decided while the block runs; committed at its end."""
    async with shard.autocommit() as connection:
        await connection.exec_driver_sql("BEGIN")
        await append(connection, about)
        await connection.exec_driver_sql(f"PREPARE TRANSACTION '{GID}'")
    try:
        yield
    finally:
        async with shard.autocommit() as connection:
            await connection.exec_driver_sql(f"COMMIT PREPARED '{GID}'")


async def test_a_transaction_that_draws_its_ids_first_and_commits_last_is_read_last_and_not_skipped(
    shard: Database,
) -> None:
    async with shard.transaction() as early:
        await append(early, "slow")
        async with shard.transaction() as late:
            await append(late, "quick")
        found, slice_, more = await taken(shard, BEGINNING)
        assert (found, more) == ([], True)
    found, slice_, more = await taken(shard, slice_.end)
    assert (found, more) == (["slow", "quick"], False)


async def test_a_prepared_transaction_hides_later_events_and_the_lag_reports_it(
    cluster: Cluster, shard: Database
) -> None:
    async with prepared(shard, "in doubt"):
        async with shard.transaction() as connection:
            await append(connection, "behind")
        found, slice_, more = await taken(shard, BEGINNING)
        assert (found, more) == ([], True)
        lag = await lag_of(shard, cluster.read_model)
        assert lag.hidden_events == 1
        assert lag.by_consumer[Version.LIVE].events == 1
        assert lag.by_consumer[Version.LIVE].seconds > 0
    found, _, more = await taken(shard, slice_.end)
    assert (found, more) == (["in doubt", "behind"], False)


async def test_a_call_of_the_relay_returns_the_position_of_every_consumer(cluster: Cluster, shard: Database) -> None:
    async with shard.transaction() as connection:
        await append(connection, "one", "two")
        await move_position(connection, REACTORS, str(2**40))
    relay = ShardedRelayActivities(Router(cluster), keep_seconds=3600)
    followed = await ActivityEnvironment().run(relay.trim_outbox, FollowShard(SHARD, 0.05))
    positions = {each.consumer: (each.position, each.events, each.is_lost) for each in followed.standing}
    assert positions == {Version.LIVE: (BEGINNING, 2, False), REACTORS: (str(2**40), 0, False)}
    assert (followed.taken, followed.trimmed) == (0, None)


async def test_a_transaction_is_never_cut(shard: Database) -> None:
    for name in "abc":
        async with shard.transaction() as connection:
            await append(connection, *(name * n for n in range(1, 5)))
    position, parts = BEGINNING, []
    more = True
    while more:
        found, slice_, more = await taken(shard, position, events_max=2)
        parts.append(found)
        position = slice_.end
    assert [part[0] for part in parts] == ["a", "b", "c"]
    assert {len(part) for part in parts} == {4}


async def test_a_position_goes_only_forward(shard: Database) -> None:
    async with shard.transaction() as connection:
        assert await read_position(connection, REACTORS) == BEGINNING
        await move_position(connection, REACTORS, "100")
        await move_position(connection, REACTORS, "99")
        assert await read_position(connection, REACTORS) == "100"


async def test_events_that_the_slowest_consumer_needs_are_kept(cluster: Cluster, shard: Database) -> None:
    async with shard.transaction() as connection:
        await append(connection, "one")
    projector = Projector(shard, cluster.read_model)
    trimmer = Trimmer(shard, cluster.read_model, keep_seconds=0)
    assert await slowest_position(shard, cluster.read_model) is None
    await trimmer.take_next()
    assert (await taken(shard, BEGINNING))[0] == ["one"]

    await projector.take_next()
    await Trimmer(shard, cluster.read_model, keep_seconds=0).take_next()
    assert (await taken(shard, BEGINNING))[0] == ["one"], "the reactors have not seen it"

    async with shard.transaction() as connection:
        await move_position(connection, REACTORS, str(2**40))
    await Trimmer(shard, cluster.read_model, keep_seconds=3600).take_next()
    assert (await taken(shard, BEGINNING))[0] == ["one"], "it is too young"
    await Trimmer(shard, cluster.read_model, keep_seconds=0).take_next()
    assert (await taken(shard, BEGINNING))[0] == []


async def test_a_consumer_that_missed_trimmed_events_is_asked_for_a_rebuild(cluster: Cluster, shard: Database) -> None:
    async with shard.transaction() as connection:
        await append(connection, "gone")
    projector = Projector(shard, cluster.read_model)
    async with shard.transaction() as connection:
        assert await trim(connection, str(2**40), keep_seconds=0) == 1
        assert await trimmed_to(connection) != BEGINNING
    with pytest.raises(RebuildNeeded, match="whose first events are gone: run `shardwise projection rebuild`"):
        await projector.take_next()


async def test_a_notification_arrives_and_many_close_together_are_few(cluster: Cluster) -> None:
    shard, count = next(iter(cluster.shards.values())), 0

    def on_notify() -> None:
        nonlocal count
        count += 1

    async with shard.listen(on_notify) as assert_alive:
        for _ in range(100):
            shard.notifier.notify()
            await asyncio.sleep(0)
        async for _ in attempts(5):
            await assert_alive()
            if count:
                break
        assert 1 <= count <= 3


async def test_a_write_notifies_once_it_is_committed(cluster: Cluster) -> None:
    """Quicker than the next poll: a consumer that is asked twice within its time was notified."""
    router = Router(cluster)
    route = (await router.map()).of_customer("anybody")
    asked = asyncio.Semaphore(0)

    class Asked:
        name = "asked"

        async def take_next(self) -> Taken:
            asked.release()
            return Taken(0, False)

    async def write(tx: ShardTransaction) -> None:
        append_event(tx, "a saga", TransferEvent.OPENED, "anybody/1", 1)

    notified = asyncio.Event()
    async with cluster.shards[route.shard].listen(notified.set), asyncio.timeout(POLL_SECONDS - 1):
        following = asyncio.create_task(follow(Asked(), route.shard, notified, {}))
        await asked.acquire()
        await router.write(lambda m: m.of_customer("anybody"), write)
        await asked.acquire()
        following.cancel()
        with pytest.raises(asyncio.CancelledError):
            await following
