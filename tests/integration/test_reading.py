"""Reads at each level on a real shard with two replicas: held back, in conflict, frozen; a primary started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import asyncpg
import pytest

from cli.embedded_stack import UpOptions, bring_up
from domain.catalogue import Product
from domain.consistency import Level, Point, Session, points_of
from domain.errors import InvalidInput, NotAtPoint
from domain.money import Money
from shards.projection.projector import Projector
from shards.reading import lists, shard_reads, stamping
from shards.reading.facts import stamp_replica
from shards.reading.held_session import HeldSession
from shards.reading.served import Served, recording
from shards.reading.shard_reads import ReadSettings, ShardReads
from shards.reading.stamping import stamp_outcome
from shards.routing.shard_transaction import ShardTransaction
from shardwise import Session as CallersSession
from shardwise import Shardwise
from stack.embedded.record import StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.support.freezing import frozen

SHARD, REPLICAS = "shard-1", ("shard-1-replica-1", "shard-1-replica-2")
SKU = "TEAPOT"
SECONDS_MAX = 30


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("stack"), read_wait_seconds=0.02)


@pytest.fixture(scope="module")
async def stack(settings: Settings) -> AsyncIterator[EmbeddedStack]:
    stack = EmbeddedStack(settings.data_dir, settings)
    options = UpOptions(shards=1, workers=0, detach=True, replicas=2)
    await bring_up(stack, settings, options, lambda _: None, usual_ports=False)
    async with await Shardwise.connect(settings=settings) as app:
        await app.catalogue.import_products([Product(SKU, "Teapot", Money(2000, "USD"), 5)])
    yield stack
    await stack.stop()


@pytest.fixture
async def app(stack: EmbeddedStack, settings: Settings) -> AsyncIterator[Shardwise]:
    """New connections, and all servers up and up to date."""
    await stack.start_servers(usual_ports=False, replicas=2)
    await ask(stack, SHARD, "SELECT 1")
    async with await Shardwise.connect(settings=settings) as app:
        await caught_up(stack)
        yield app


async def ask(stack: EmbeddedStack, server: str, statement: str, *parameters: object) -> object:
    """As the owner."""
    connection = await asyncpg.connect(StackRecord.load(stack.data_dir).owner_dsn(server))
    try:
        return await connection.fetchval(statement, *parameters)
    finally:
        await connection.close()


async def caught_up(stack: EmbeddedStack) -> None:
    position = await ask(stack, SHARD, "SELECT CAST(pg_current_wal_flush_lsn() AS text)")
    for replica in REPLICAS:
        async for _ in attempts(SECONDS_MAX):
            if await ask(stack, replica, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                break


@contextlib.asynccontextmanager
async def held_back(
    stack: EmbeddedStack, replicas: Sequence[str] = REPLICAS
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """Inside the block these replicas receive and do not replay. Yields what ends it."""

    async def resume() -> None:
        for replica in replicas:
            await ask(stack, replica, "SELECT pg_wal_replay_resume()")

    for replica in replicas:
        await ask(stack, replica, "SELECT pg_wal_replay_pause()")
        async for _ in attempts(SECONDS_MAX):
            if await ask(stack, replica, "SELECT pg_get_wal_replay_pause_state()") == "paused":
                break
    try:
        yield resume
    finally:
        await resume()


async def shown(app: Shardwise, level: Level | None) -> tuple[int, Served]:
    """The product's version, and what served it."""
    with recording() as served:
        product = await app.catalogue.product(SKU, level)
    return product.version, served[-1]


@contextlib.asynccontextmanager
async def projecting(app: Shardwise) -> AsyncIterator[None]:
    cluster = app._installation.with_timeouts.cluster
    projector = Projector(cluster.primaries[SHARD], cluster.read_model)

    async def follow() -> None:
        while True:
            if not (await projector.take_next()).events:
                await asyncio.sleep(0.01)

    following = asyncio.create_task(follow())
    try:
        yield
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


_names = iter(f"Teapot {n}" for n in range(1, 1000))


async def renamed(app: Shardwise) -> int:
    return (await app.catalogue.rename_product(SKU, next(_names))).version


# ── levels ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_level_shows_what_it_promises_from_whoever_has_it(app: Shardwise, stack: EmbeddedStack) -> None:
    mine = app.within(CallersSession())
    before = (await shown(mine, Level.EVENTUAL))[0]
    async with held_back(stack):
        version = await renamed(mine)
        assert version == before + 1
        stale, served = await shown(app, Level.EVENTUAL)
        assert (stale, served.server in REPLICAS) == (before, True)
        # What others have seen obliges nobody; what this session wrote does.
        assert (await shown(mine, Level.MONOTONIC))[0] == before
        own, served = await shown(mine, None)
        assert (own, served.server, served.level) == (version, SHARD, Level.READ_YOUR_WRITES)
        assert served.waited_seconds > 0
        assert (await shown(mine, Level.MONOTONIC))[0] == version
        assert (await shown(app, Level.STRONG))[0] == version
    await caught_up(stack)
    for level in (Level.EVENTUAL, Level.READ_YOUR_WRITES, Level.MONOTONIC):
        now, served = await shown(mine, level)
        assert (now, served.server in REPLICAS, served.waited_seconds) == (version, True, 0)
    assert (await shown(mine, Level.STRONG))[1].server == SHARD


async def test_a_read_waits_for_a_replica_that_is_nearly_there(
    app: Shardwise, stack: EmbeddedStack, settings: Settings
) -> None:
    patient = settings.model_copy(update={"read_wait_seconds": 20.0})
    async with await Shardwise.connect(settings=patient) as waiting:
        mine = waiting.within(CallersSession())
        async with held_back(stack) as resume:
            version = await renamed(mine)
            reading = asyncio.create_task(shown(mine, Level.READ_YOUR_WRITES))
            await asyncio.wait({reading}, timeout=0.1)
            assert not reading.done()
            await resume()
            found, served = await reading
    assert (found, served.server in REPLICAS) == (version, True)
    assert served.waited_seconds > 0.05


async def test_a_profile_shows_what_its_session_set_though_replicas_are_behind(
    app: Shardwise, stack: EmbeddedStack, settings: Settings
) -> None:
    """Set, and read at each level from replicas that replay 100 ms later: by a program that waits for a replica, and by
    one that then goes to the primary."""
    lacked, from_replica, from_primary = "eventual lacked it", "a replica had it after a wait", "the primary had it"
    await app.accounts.open("ada", "USD")
    await caught_up(stack)
    patient = settings.model_copy(update={"read_wait_seconds": 20.0})
    seen: set[str] = set()
    async with delayed(stack, 100), await Shardwise.connect(settings=patient) as waiting:
        async for _ in attempts(SECONDS_MAX):
            for program in (app, waiting):
                mine = program.within(CallersSession())
                changed = await mine.profiles.set("ada", settings={"colour": next(_names)})
                if (await mine.profiles.show("ada", Level.EVENTUAL)).version < changed.version:
                    seen.add(lacked)
                with recording() as served:
                    for level in (Level.READ_YOUR_WRITES, Level.MONOTONIC, Level.STRONG):
                        shown = await mine.profiles.show("ada", level)
                        assert (level, shown.settings) == (level, changed.settings)
                if served[0].waited_seconds > 0:
                    seen.add(from_replica if served[0].server in REPLICAS else from_primary)
            if len(seen) == 3:
                break
        assert seen == {lacked, from_replica, from_primary}
        # In the end eventual reads show it too.
        async for _ in attempts(SECONDS_MAX):
            if (shown := await app.profiles.show("ada", Level.EVENTUAL)).version == changed.version:
                break
        assert shown.settings == changed.settings


@contextlib.asynccontextmanager
async def delayed(stack: EmbeddedStack, milliseconds: int) -> AsyncIterator[None]:
    """Inside the block the replicas replay each commit this long after it was made."""
    is_now = "SELECT setting FROM pg_settings WHERE name = 'recovery_min_apply_delay'"

    async def set_to(delay: int) -> None:
        for replica in REPLICAS:
            await ask(stack, replica, f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}ms'")
            await ask(stack, replica, "SELECT pg_reload_conf()")
            async for _ in attempts(SECONDS_MAX):
                if await ask(stack, replica, is_now) == str(delay):
                    break

    await set_to(milliseconds)
    try:
        yield
    finally:
        await set_to(0)


async def test_another_replica_is_read_before_the_primary(app: Shardwise, stack: EmbeddedStack) -> None:
    mine = app.within(CallersSession())
    async with held_back(stack, REPLICAS[:1]):
        version = await renamed(mine)
        await caught_up_one(stack, REPLICAS[1])
        for _ in range(6):
            found, served = await shown(mine, Level.READ_YOUR_WRITES)
            assert (found, served.server) == (version, REPLICAS[1])


async def caught_up_one(stack: EmbeddedStack, replica: str) -> None:
    position = await ask(stack, SHARD, "SELECT CAST(pg_current_wal_flush_lsn() AS text)")
    async for _ in attempts(SECONDS_MAX):
        if await ask(stack, replica, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
            return


async def test_the_token_goes_on_in_another_process(app: Shardwise, stack: EmbeddedStack, settings: Settings) -> None:
    session = CallersSession()
    async with held_back(stack):
        version = await renamed(app.within(session))
        async with await Shardwise.connect(settings=settings) as other:
            found, served = await shown(other.within(CallersSession(session.token)), Level.READ_YOUR_WRITES)
    assert (found, served.server) == (version, SHARD)


@pytest.mark.parametrize("level", [Level.READ_YOUR_WRITES, Level.MONOTONIC])
async def test_levels_of_a_session_need_one(app: Shardwise, level: Level) -> None:
    with pytest.raises(InvalidInput, match=f"consistency: {level} needs a session") as refused:
        await app.catalogue.product(SKU, level)
    assert refused.value.field == "consistency"


# ── the primary's own rule ──────────────────────────────────────────────────────────────────────────────────


async def test_the_primary_waits_for_what_a_replica_has_shown_and_then_refuses(
    app: Shardwise, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction whose commit a replica shows may still be running on its primary: any other stands in."""
    monkeypatch.setattr(shard_reads, "PRIMARY_WAIT_SECONDS", 0.1)
    session = CallersSession()
    mine = app.within(session)
    open_one = await asyncpg.connect(StackRecord.load(stack.data_dir).owner_dsn(SHARD))
    transaction = open_one.transaction()
    await transaction.start()
    xid = await open_one.fetchval("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
    await renamed(app)
    await caught_up(stack)
    assert (await shown(mine, Level.EVENTUAL))[1].server in REPLICAS
    with pytest.raises(NotAtPoint, match=f"shard-1 does not show yet how transaction {xid} ended") as refused:
        await shown(mine, Level.STRONG)
    assert (refused.value.code, refused.value.exit_code) == ("not_at_point", 3)
    # Nothing is demanded by a session that saw only the primary, however long others take.
    assert (await shown(app.within(CallersSession()), Level.STRONG))[1].server == SHARD
    await transaction.rollback()
    await open_one.close()
    assert (await shown(mine, Level.STRONG))[1].server == SHARD


async def test_what_was_returned_while_the_primary_was_away_only_the_primary_shows(
    app: Shardwise, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stamping, "ANSWER_SECONDS", 0.2)
    session = CallersSession()
    version = await renamed(app)
    cluster = app._installation.with_timeouts.cluster
    with frozen(StackRecord.load(stack.data_dir).processes[SHARD].pid):
        await stamp_outcome([cluster.shards[SHARD]], session.held)
    [(_, point)] = list(session.held.session.wrote)
    assert point.is_unknown
    mine = app.within(CallersSession(session.token))
    found, served = await shown(mine, Level.READ_YOUR_WRITES)
    assert (found, served.server) == (version, SHARD)
    # That read stamped it, so that from now on replicas can have it.
    await caught_up(stack)
    assert (await shown(mine, Level.READ_YOUR_WRITES))[1].server in REPLICAS


# ── replicas that fail ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_read_that_was_in_the_way_of_replay_goes_elsewhere(app: Shardwise, stack: EmbeddedStack) -> None:
    await ask(stack, SHARD, "DROP TABLE IF EXISTS in_the_way")
    await ask(stack, SHARD, "CREATE TABLE in_the_way AS SELECT 1 AS a")
    await ask(stack, SHARD, "GRANT SELECT ON in_the_way TO PUBLIC")
    for replica in REPLICAS:
        await ask(stack, replica, "ALTER SYSTEM SET max_standby_streaming_delay = 0")
        await ask(stack, replica, "SELECT pg_reload_conf()")
    await caught_up(stack)
    reads = app._installation.with_timeouts.reads
    asked: list[int] = []
    reading = asyncio.Event()

    async def slow_at_first(tx: ShardTransaction) -> int:
        asked.append(1)
        await tx.connection.exec_driver_sql("BEGIN")
        await tx.connection.exec_driver_sql("SELECT a FROM in_the_way")
        reading.set()
        if len(asked) == 1:
            await tx.connection.exec_driver_sql("SELECT a, pg_sleep(3) FROM in_the_way")
        await tx.connection.exec_driver_sql("COMMIT")
        return len(asked)

    with recording() as served:
        found = asyncio.create_task(reads.read(lambda m: m.of_sku(SKU), slow_at_first, Level.EVENTUAL))
        await reading.wait()
        await ask(stack, SHARD, "TRUNCATE in_the_way")
        assert await found == 2
    assert served[0].server in {SHARD, *REPLICAS}
    for replica in REPLICAS:
        await ask(stack, replica, "ALTER SYSTEM RESET max_standby_streaming_delay")
        await ask(stack, replica, "SELECT pg_reload_conf()")


async def test_a_frozen_replica_is_left_out_and_let_back_in(app: Shardwise, stack: EmbeddedStack) -> None:
    cluster, router = app._installation.with_timeouts.cluster, app._installation.with_timeouts.router
    reads = ShardReads(router, ReadSettings())
    fleet = reads._fleet(cluster.shards[SHARD])

    async def server() -> str:
        with recording() as served:
            await reads.read(lambda m: m.of_sku(SKU), _nothing, Level.EVENTUAL)
        return served[0].server

    assert {await server() for _ in range(4)} == set(REPLICAS)
    with frozen(StackRecord.load(stack.data_dir).processes[REPLICAS[0]].pid):
        while [replica.name for replica in fleet.left_out()] != [REPLICAS[0]]:
            assert await server() == REPLICAS[1]
    async for _ in attempts(SECONDS_MAX):
        assert await server() in REPLICAS
        if not fleet.left_out():
            break
    assert {await server() for _ in range(4)} == set(REPLICAS)
    await reads.close()


async def test_with_its_primary_away_no_read_fails_that_a_replica_can_answer(
    app: Shardwise, stack: EmbeddedStack
) -> None:
    """From the first one on: a replica that has just lost its primary is not taken out yet."""
    mine = app.within(CallersSession())
    version = await renamed(mine)
    await caught_up(stack)
    assert {(await shown(mine, Level.READ_YOUR_WRITES))[1].server for _ in range(4)} == set(REPLICAS)
    os.kill(StackRecord.load(stack.data_dir).processes[SHARD].pid, signal.SIGKILL)
    for replica in REPLICAS:
        async for _ in attempts(SECONDS_MAX):
            if not await ask(stack, replica, "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)"):
                break
    for level in (Level.EVENTUAL, Level.READ_YOUR_WRITES, Level.MONOTONIC) * 2:
        found, served = await shown(mine, level)
        assert (found, served.server in REPLICAS, served.is_fit) == (version, True, False)


async def _nothing(tx: ShardTransaction) -> None:
    await tx.connection.exec_driver_sql("SELECT 1")


# ── forks ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_primary_that_only_starts_again_loses_no_session(
    app: Shardwise, stack: EmbeddedStack, settings: Settings
) -> None:
    session = CallersSession()
    version = await renamed(app.within(session))
    assert (await shown(app.within(session), Level.EVENTUAL))[0] <= version
    forks = await ask(stack, SHARD, "SELECT count(*) FROM shard_fork")
    primary = StackRecord.load(stack.data_dir).processes[SHARD].pid
    os.kill(primary, signal.SIGKILL)
    async for _ in attempts(SECONDS_MAX):
        if await stack.start_servers(usual_ports=False, replicas=2):
            break
    async with await Shardwise.connect(settings=settings) as later:
        mine = later.within(session)
        for level in (Level.READ_YOUR_WRITES, Level.MONOTONIC, Level.STRONG):
            assert (await shown(mine, level))[0] == version
    assert await ask(stack, SHARD, "SELECT count(*) FROM shard_fork") == int(str(forks)) + 1
    # Carried over by the strong read: the session does not grow with each start.
    [(_, seen)] = list(session.held.session.seen)
    assert seen.fork == str(await ask(stack, SHARD, "SELECT id FROM shard_fork ORDER BY n DESC LIMIT 1"))


# ── lists ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_lists_wait_for_the_projection(app: Shardwise) -> None:
    mine = app.within(CallersSession())
    async with projecting(app):
        for level in (Level.STRONG, Level.READ_YOUR_WRITES, None):
            version = await renamed(mine)
            with recording() as served:
                [product] = (await mine.queries.products(consistency=level)).products
            assert (product.version, served[0].server) == (version, "read_model")
    # What a list has shown, a replica shows too.
    async with projecting(app):
        version = await renamed(app)
        [product] = (await mine.queries.products(consistency=Level.STRONG)).products
    assert product.version == version
    assert (await shown(mine, Level.MONOTONIC))[0] == version


async def test_a_transaction_in_doubt_holds_lists_up_and_they_say_so_while_rows_go_on(
    app: Shardwise, stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "WAIT_SECONDS", 0.3)
    mine = app.within(CallersSession())
    await ask(stack, SHARD, "CREATE TABLE IF NOT EXISTS somebody (a int)")
    connection = await asyncpg.connect(StackRecord.load(stack.data_dir).owner_dsn(SHARD))
    await connection.execute("BEGIN; INSERT INTO somebody VALUES (1); PREPARE TRANSACTION 'not yours'")
    try:
        async with projecting(app):
            version = await renamed(mine)
            for level in (Level.STRONG, Level.READ_YOUR_WRITES):
                with pytest.raises(NotAtPoint, match=r"for shard-1 the read model .*: transaction not yours, prepared"):
                    await mine.queries.products(consistency=level)
            assert len((await mine.queries.products(consistency=Level.EVENTUAL)).products) == 1
            await caught_up(stack)
            found, served = await shown(mine, Level.READ_YOUR_WRITES)
            assert (found, served.server in REPLICAS) == (version, True)
            assert (await shown(mine, Level.MONOTONIC))[0] == version
            await connection.execute("ROLLBACK PREPARED 'not yours'")
            monkeypatch.setattr(lists, "WAIT_SECONDS", 10.0)
            [product] = (await mine.queries.products(consistency=Level.STRONG)).products
            assert product.version == version
    finally:
        with contextlib.suppress(asyncpg.PostgresError):
            await connection.execute("ROLLBACK PREPARED 'not yours'")
        await connection.close()


# ── positions at rest ───────────────────────────────────────────────────────────────────────────────────────


async def test_at_rest_no_stamp_is_above_what_a_replica_reaches(app: Shardwise, stack: EmbeddedStack) -> None:
    """The position behind a page's or a segment's header is one that replay passes only with the next record."""
    cluster = app._installation.with_timeouts.cluster
    held = HeldSession()
    for n in range(60):
        await ask(stack, SHARD, "SELECT pg_logical_emit_message(true, 'fill', repeat('x', $1))", 97 * n)
        if n % 10 == 0:
            await ask(stack, SHARD, "SELECT CAST(pg_switch_wal() AS text)")
        await stamp_outcome([cluster.shards[SHARD]], held)
        [(_, point)] = list(held.session.wrote)
        reached = 0
        async for _ in attempts(5):
            async with cluster.replicas[0].database.autocommit() as connection:
                reached = (await stamp_replica(connection, ())).point.lsn
            if reached >= point.lsn:
                break
        assert reached >= point.lsn


async def test_what_no_replica_has_is_read_on_the_primary(app: Shardwise, stack: EmbeddedStack) -> None:
    fork = str(await ask(stack, SHARD, "SELECT id FROM shard_fork ORDER BY n DESC LIMIT 1"))
    session = CallersSession()
    session.held.session = Session(wrote=points_of([(SHARD, Point(fork, lsn=2**62))]))
    # The primary has it, as far as anybody can know; a replica is not believed to.
    assert (await shown(app.within(session), Level.READ_YOUR_WRITES))[1].server == SHARD
