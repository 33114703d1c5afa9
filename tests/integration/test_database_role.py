"""The role of the workers: what it may do and not, what makes it, and how an installation comes to have it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from domain.errors import InvalidInput, Refused
from domain.two_phase import Coordinator
from shards.connections.cluster import Cluster
from shards.connections.database_errors import sqlstate
from shardwise.connections import connected
from stack.embedded.record import ROLE
from stack.settings import Databases, Settings
from stack.temporal_client import connect
from tests.conftest import FreshDatabase, FreshNamespace
from tests.support.postgres import owner_of
from tests.support.two_phase import SOURCE, TransferByHand, new_transfer, nothing_left_prepared
from tests.support.world import World
from workers.migration.database_role import INSUFFICIENT_PRIVILEGE, assert_no_superuser
from workers.migration.migrate import migrate_databases
from workers.run import HOSTED, run_worker

_numbers = itertools.count(1)

# As `\du` shows it: attributes, and what it is a member of.
_ROLE = """
    SELECT rolcanlogin, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
           ARRAY(SELECT CAST(roleid AS regrole)::text FROM pg_auth_members WHERE member = r.oid ORDER BY 1) AS member_of
    FROM pg_roles AS r WHERE rolname = :name
"""
_OWNED = """
    SELECT nspname FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
    WHERE pg_get_userbyid(relowner) = :name AND relkind = 'r'
    UNION SELECT nspname FROM pg_namespace WHERE pg_get_userbyid(nspowner) = :name
"""


def clustered(databases: Databases) -> Cluster:
    return Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=4)


def as_user(databases: Databases, user: str, password: str) -> Databases:
    def of(dsn: str) -> str:
        return make_url(dsn).set(username=user, password=password).render_as_string(hide_password=False)

    shards = {name: of(dsn) for name, dsn in databases.shards.items()}
    return Databases(shards, of(databases.catalog), of(databases.read_model))


def silent(_: str) -> None:
    pass


@pytest.fixture
async def owners(cluster_dsns: Databases) -> AsyncIterator[Cluster]:
    async with clustered(owner_of(cluster_dsns)) as cluster, nothing_left_prepared(cluster):
        yield cluster


async def test_it_can_log_in_and_see_statistics_and_is_nothing_else(owners: Cluster) -> None:
    async with owners.catalog.transaction() as connection:
        row = (await connection.execute(text(_ROLE), {"name": ROLE})).one()
    assert tuple(row) == (True, False, False, False, False, False, ["pg_read_all_stats"])
    for database in owners.databases:
        async with database.transaction() as connection:
            owned = (await connection.execute(text(_OWNED), {"name": ROLE})).scalars().all()
        assert owned == (["live"] if database.name == "read_model" else [])


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE entry CASCADE",
        "DROP TABLE transfer",
        "ALTER TABLE account DROP CONSTRAINT IF EXISTS anything",
        "CREATE TABLE public.of_ours (n int)",
        "CREATE SCHEMA of_ours",
        "UPDATE alembic_version SET version_num = 'older'",
        "CREATE ROLE another",
        "COPY account TO PROGRAM 'true'",
        "ALTER SYSTEM SET fsync = off",
    ],
)
async def test_statements_that_no_worker_needs_are_denied(cluster: Cluster, statement: str) -> None:
    with pytest.raises(DBAPIError) as caught:
        async with cluster.primaries["shard-1"].autocommit() as connection:
            await connection.exec_driver_sql(statement)
    assert sqlstate(caught.value) == INSUFFICIENT_PRIVILEGE


@pytest.mark.parametrize("table", ["account", "batch_line"])
async def test_it_may_analyze_and_vacuum_what_it_has_to(cluster: Cluster, table: str) -> None:
    # Without the right both only warn, and do nothing.
    async with cluster.primaries["shard-1"].transaction() as connection:
        assert await connection.scalar(text(f"SELECT has_table_privilege('{table}', 'MAINTAIN')"))
        assert not await connection.scalar(text("SELECT has_table_privilege('entry', 'MAINTAIN')"))


async def test_it_may_copy_rows_without_firing_triggers(cluster: Cluster) -> None:
    async with cluster.primaries["shard-1"].transaction() as connection:
        await connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        assert await connection.scalar(text("SHOW session_replication_role")) == "replica"


async def test_migrating_again_grants_again_what_was_taken(cluster_dsns: Databases, owners: Cluster) -> None:
    async with owners.primaries["shard-2"].transaction() as connection:
        await connection.exec_driver_sql(f"REVOKE INSERT ON entry FROM {ROLE}")
    await migrate_databases(owner_of(cluster_dsns), silent, cluster_dsns)
    async with owners.primaries["shard-2"].transaction() as connection:
        assert await connection.scalar(text(f"SELECT has_table_privilege('{ROLE}', 'entry', 'INSERT')"))


async def test_two_migrations_at_once_both_succeed(cluster_dsns: Databases, owners: Cluster) -> None:
    for database in owners.databases:
        async with database.transaction() as connection:
            await connection.exec_driver_sql(f"DROP OWNED BY {ROLE}" if database.name != "read_model" else "SELECT 1")
    migrations = (migrate_databases(owner_of(cluster_dsns), silent, cluster_dsns) for _ in range(6))
    await asyncio.gather(*migrations)
    async with clustered(cluster_dsns) as cluster:
        await _is_usable(await new_transfer(World(cluster)))


# ── a worker that is a superuser ───────────────────────────────────────────────────────────────────────────────────


async def test_a_worker_that_is_a_superuser_is_refused(
    cluster_dsns: Databases, fresh_namespace: FreshNamespace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    client = await fresh_namespace()
    monkeypatch.setenv("TEMPORAL_ADDRESS", client.service_client.config.target_host)
    monkeypatch.setenv("TEMPORAL_NAMESPACE", client.namespace)
    owners = owner_of(cluster_dsns)
    monkeypatch.setenv("SHARDWISE_READY_FILE", str(tmp_path / "ready"))
    settings = Settings.model_validate(
        {"shards": owners.shards, "catalog_dsn": owners.catalog, "read_model_dsn": owners.read_model}
    )
    assert await connect(settings)
    with pytest.raises(InvalidInput, match=r"the role shardwise is a superuser.*SHARDWISE_MIGRATION_USER"):
        await run_worker(settings, list(HOSTED))
    assert not (tmp_path / "ready").exists()


async def test_a_command_that_is_a_superuser_is_refused_by_what_its_server_reports_unasked(
    cluster_dsns: Databases,
) -> None:
    for databases, message in ((owner_of(cluster_dsns), "the role shardwise is a superuser"), (cluster_dsns, None)):
        settings = Settings.model_validate(
            {"shards": databases.shards, "catalog_dsn": databases.catalog, "read_model_dsn": databases.read_model}
        )
        async with connected(settings) as to:
            apart = [pool for each in to.cluster.shards.values() for pool in (each.phase_two, each.listening)]
            for database in [*to.cluster.databases, *apart]:
                asked: list[str] = []
                event.listen(database.events, "before_cursor_execute", noting(asked))
                refused = pytest.raises(InvalidInput, match=message) if message else contextlib.nullcontext()
                with refused as caught:
                    await database.ping()
                if isinstance(caught, pytest.ExceptionInfo):
                    assert caught.value.field == database.setting
                    assert asked == []


def noting(statements: list[str]) -> Callable[..., None]:
    def note(*arguments: Any) -> None:
        statements.append(arguments[2])

    return note


async def test_a_superuser_is_refused_as_the_role(cluster_dsns: Databases, owners: Cluster) -> None:
    name = f"second_owner_{next(_numbers)}"
    async with owners.catalog.transaction() as connection:
        await connection.exec_driver_sql(f"CREATE ROLE {name} SUPERUSER LOGIN PASSWORD 'drawn'")
    try:
        with pytest.raises(InvalidInput, match=f"the role {name} is a superuser"):
            await migrate_databases(owner_of(cluster_dsns), silent, as_user(cluster_dsns, name, "drawn"))
    finally:
        async with owners.catalog.transaction() as connection:
            await connection.exec_driver_sql(f"DROP ROLE {name}")


# ── an owner that is none either ───────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def landlord(fresh_database: FreshDatabase, owners: Cluster) -> AsyncIterator[tuple[Databases, Databases]]:
    """Empty databases as an owner with CREATEROLE reaches them, and as a role would that does not exist yet."""
    owner, role = f"landlord_{next(_numbers)}", f"tenant_{next(_numbers)}"
    dsns = [await fresh_database() for _ in range(5)]
    empty = Databases({f"shard-{n}": dsn for n, dsn in enumerate(dsns[:3], 1)}, dsns[3], dsns[4])
    async with owners.catalog.autocommit() as connection:
        await connection.exec_driver_sql(f"CREATE ROLE {owner} LOGIN CREATEROLE PASSWORD 'owns'")
        for dsn in empty.all:
            await connection.exec_driver_sql(f'ALTER DATABASE "{make_url(dsn).database}" OWNER TO {owner}')
    yield as_user(empty, owner, "owns"), as_user(empty, role, "p@ss 'word'")
    async with Cluster(empty.shards, empty.catalog, empty.read_model, pool_size=1, check_names=False) as cluster:
        for database in cluster.databases:
            async with database.transaction() as connection:
                await connection.exec_driver_sql(f"DROP OWNED BY {role}, {owner} CASCADE")
    async with owners.catalog.autocommit() as connection:
        for dsn in empty.all:
            await connection.exec_driver_sql(f'ALTER DATABASE "{make_url(dsn).database}" OWNER TO CURRENT_USER')
        await connection.exec_driver_sql(f"DROP ROLE {role}, {owner}")


async def test_an_owner_that_is_no_superuser_makes_it_and_reports_what_it_cannot_grant(
    landlord: tuple[Databases, Databases],
) -> None:
    owned, databases = landlord
    said: list[str] = []
    await migrate_databases(owned, said.append, databases)
    missing = [line for line in said if "only a superuser can" in line]
    assert any("pg_read_all_stats" in line for line in missing)
    assert any("session_replication_role" in line for line in missing)
    async with clustered(databases) as cluster:
        await assert_no_superuser(cluster.databases)
        async with cluster.read_model.transaction() as connection:
            await connection.exec_driver_sql("ALTER SCHEMA live RENAME TO retired")
            await connection.exec_driver_sql("ALTER SCHEMA retired RENAME TO live")
        assert await World(cluster).customer("10.00", "USD", "shard-1")
    # What the role now owns, the next release's migrations still can change.
    await migrate_databases(owned, silent, databases)
    async with clustered(owned) as cluster, cluster.read_model.transaction() as connection:
        await connection.exec_driver_sql("ALTER TABLE live.customer ADD COLUMN of_the_next_release text")


async def test_an_owner_that_may_make_no_role_is_refused(
    landlord: tuple[Databases, Databases], owners: Cluster
) -> None:
    owned, databases = landlord
    name = make_url(owned.catalog).username
    async with owners.catalog.transaction() as connection:
        await connection.exec_driver_sql(f"ALTER ROLE {name} NOCREATEROLE")
        role = make_url(databases.catalog).username
    with pytest.raises(InvalidInput, match="the tables' owner with CREATEROLE: permission denied"):
        await migrate_databases(owned, silent, databases)
    async with owners.catalog.transaction() as connection:
        assert not await connection.scalar(text("SELECT true FROM pg_roles WHERE rolname = :r"), {"r": role})
        await connection.exec_driver_sql(f"CREATE ROLE {role}")  # For the fixture, which drops it.


@pytest.mark.parametrize("name", ["", "public", "pg_evil", "x" * 70])
async def test_a_name_that_cannot_be_a_role_is_refused_before_anything_is_made(
    landlord: tuple[Databases, Databases], owners: Cluster, name: str
) -> None:
    owned, databases = landlord
    async with owners.catalog.transaction() as connection:
        await connection.exec_driver_sql(f"CREATE ROLE {make_url(databases.catalog).username}")  # As the fixture wants.

    def nobody(dsn: str) -> str:
        return "postgresql://" + dsn.rpartition("@")[2]

    shards = {shard: nobody(dsn) for shard, dsn in databases.shards.items()}
    without_user = Databases(shards, nobody(databases.catalog), nobody(databases.read_model))
    said: list[str] = []
    with pytest.raises(InvalidInput, match="names a role of your own") as refused:
        await migrate_databases(owned, said.append, as_user(databases, name, "drawn") if name else without_user)
    assert (refused.value.field, said) == ("SHARDWISE_SHARDS", [])


async def test_a_user_that_owns_nothing_is_refused(cluster_dsns: Databases, owners: Cluster) -> None:
    name = f"owns_nothing_{next(_numbers)}"
    async with owners.catalog.transaction() as connection:
        await connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'drawn'")
    try:
        with pytest.raises(InvalidInput, match="owner with CREATEROLE: permission denied for table alembic_version"):
            await migrate_databases(as_user(cluster_dsns, name, "drawn"), silent, cluster_dsns)
    finally:
        async with owners.catalog.transaction() as connection:
            await connection.exec_driver_sql(f"DROP ROLE {name}")


# ── an installation of before, with transfers in doubt ─────────────────────────────────────────────────────────────


async def asked(_: str) -> Coordinator:
    """The workflow waits for a worker, which was stopped for the change."""
    return Coordinator.AT_WORK


async def test_transactions_that_the_old_role_left_in_doubt_are_ended_before_the_new_one_takes_over(
    cluster_dsns: Databases, owners: Cluster
) -> None:
    world = World(owners)
    undecided, committed = await new_transfer(world), await new_transfer(world)
    for each in (undecided, committed):
        await each.prepare_both()
    await committed.by_hand(SOURCE, "COMMIT")
    said: list[str] = []
    await migrate_databases(owner_of(cluster_dsns), said.append, cluster_dsns, asked)
    assert [line for line in said if "left in doubt" in line] != []
    for each, ended in ((undecided, ("declined", "withdrawn")), (committed, ("confirmed", "credited"))):
        assert (await each.prepared(), await each.states()) == ([], ended)
    assert (await undecided.money(), await committed.money()) == ((100_00, 0), (70_00, 30_00))
    async with clustered(cluster_dsns) as cluster:
        await _is_usable(await new_transfer(World(cluster)))


async def _is_usable(transfer: TransferByHand) -> None:
    await transfer.prepare_both()
    assert (await transfer.commit(SOURCE)).is_committed


async def test_a_transaction_that_cannot_be_ended_is_named_and_nothing_is_handed_over(
    cluster_dsns: Databases, owners: Cluster
) -> None:
    transfer = await new_transfer(World(owners))
    await transfer.prepare_both()
    # The role itself migrates: it owns none of these transactions, and may not end them.
    with pytest.raises(Refused, match=f"{transfer.gid(SOURCE)} of shardwise"):
        await migrate_databases(cluster_dsns, silent, cluster_dsns, asked)
    assert len(await transfer.prepared()) == 2


async def test_without_temporal_nothing_is_ended_and_nothing_handed_over(
    cluster_dsns: Databases, owners: Cluster
) -> None:
    transfer = await new_transfer(World(owners))
    await transfer.prepare_both()
    with pytest.raises(Refused, match="what its workflow has decided is not known here"):
        await migrate_databases(owner_of(cluster_dsns), silent, cluster_dsns)
    assert len(await transfer.prepared()) == 2


async def test_a_name_that_is_none_of_ours_is_reported_with_what_ends_it(
    cluster_dsns: Databases, owners: Cluster
) -> None:
    shard = next(iter(owners.primaries.values()))
    async with shard.autocommit() as connection:
        for statement in ("BEGIN", "SELECT pg_current_xact_id()", "PREPARE TRANSACTION 'shardwise:od''d'"):
            await connection.exec_driver_sql(statement)
    try:
        with pytest.raises(
            Refused, match=f"on {shard.name} `ROLLBACK PREPARED 'shardwise:od''d'`, prepared by"
        ) as refused:
            await migrate_databases(owner_of(cluster_dsns), silent, cluster_dsns, asked)
        assert "SHARDWISE_MIGRATION_USER" not in refused.value.message
    finally:
        async with shard.autocommit() as connection:
            await connection.exec_driver_sql("ROLLBACK PREPARED 'shardwise:od''d'")
