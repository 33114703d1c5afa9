"""Migrations: they make what the table definitions say, however often they run, and at the same time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection, MetaData, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from domain.errors import InvalidInput, NotMigrated, ShardwiseError
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shards.routing.map_store import load_map
from shards.tables import catalog, comments, leases, outbox, read_model, transfer_batches, transfers
from stack.embedded import binaries
from stack.embedded.status import without_password
from stack.settings import Databases, Settings
from tests.conftest import FreshDatabase
from workers.migration.migrate import assert_databases_ready, migrate_databases
from workers.migration.schema import Kind, alembic_config, current_revision, history_of, upgrade

METADATA = {Kind.SHARD: transfers.metadata, Kind.CATALOG: catalog.metadata, Kind.READ_MODEL: read_model.metadata}
assert transfer_batches.metadata is transfers.metadata is outbox.metadata is comments.metadata is leases.metadata

MIGRATE = """
import asyncio, json, sys
from stack.settings import Databases
from workers.migration.migrate import migrate_databases
asyncio.run(migrate_databases(Databases(**json.load(sys.stdin)), print))
"""


async def run_sync(dsn: str, work: Callable[[Connection], None]) -> None:
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:", 1), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(work)


async def create_all(dsn: str, metadata: MetaData) -> None:
    def create(connection: Connection) -> None:
        for name in {table.schema for table in metadata.tables.values()} - {None}:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        metadata.create_all(connection)
        connection.commit()

    await run_sync(dsn, create)


async def migrate_down(dsn: str, kind: Kind) -> None:
    def down(connection: Connection) -> None:
        config = alembic_config(kind)
        config.attributes["connection"] = connection
        command.downgrade(config, f"{kind}@base")

    await run_sync(dsn, down)


async def migrate_up(dsn: str, kind: Kind) -> None:
    await run_sync(dsn, lambda connection: upgrade(connection, kind))


async def schema(dsn: str) -> str:
    """As `pg_dump` prints it, without Alembic's own table and the line that differs at every run."""
    dump = await asyncio.create_subprocess_exec(
        binaries.postgres_bin(Settings()) / "pg_dump",
        *("--schema-only", "--no-owner", "--no-privileges", "--exclude-table=alembic_version", without_password(dsn)),
        env={**os.environ, "PGPASSWORD": str(make_url(dsn).password)},
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await dump.communicate()
    assert dump.returncode == 0
    return "\n".join(
        line for line in printed.decode().splitlines() if not line.startswith(("\\restrict", "\\unrestrict"))
    )


@pytest.fixture
async def empty(fresh_database: FreshDatabase) -> Databases:
    """Addresses of a whole installation where nothing was made yet."""
    shards = {f"shard-{number}": await fresh_database() for number in (1, 2, 3)}
    return Databases(shards, catalog=await fresh_database(), read_model=await fresh_database())


def opened(addresses: Databases) -> Cluster:
    return Cluster(addresses.shards, addresses.catalog, addresses.read_model, pool_size=2)


def silent(_: str) -> None:
    pass


@pytest.mark.parametrize("kind", Kind)
async def test_the_migrated_schema_is_what_the_tables_say(kind: Kind, fresh_database: FreshDatabase) -> None:
    migrated, created = await fresh_database(), await fresh_database()
    await migrate_up(migrated, kind)
    await create_all(created, METADATA[kind])
    assert await schema(migrated) == await schema(created)


@pytest.mark.parametrize("kind", Kind)
async def test_a_downgrade_leaves_nothing_and_can_be_upgraded_again(kind: Kind, fresh_database: FreshDatabase) -> None:
    dsn = await fresh_database()
    nothing = await schema(dsn)
    await migrate_up(dsn, kind)
    complete = await schema(dsn)
    await migrate_down(dsn, kind)
    assert await schema(dsn) == nothing
    await migrate_up(dsn, kind)
    assert await schema(dsn) == complete


async def test_an_empty_installation_is_migrated_once(empty: Databases) -> None:
    reported: list[str] = []
    first = await migrate_databases(empty, reported.append)
    assert [(each.name, each.before, each.after) for each in first] == [
        *((name, None, history_of(Kind.SHARD).head) for name in empty.shards),
        ("catalog", None, history_of(Kind.CATALOG).head),
        ("read_model", None, history_of(Kind.READ_MODEL).head),
    ]
    assert len(reported) == 5

    again = await migrate_databases(empty, reported.append)
    assert all(each.before == each.after for each in again)
    assert len(reported) == 5
    async with opened(empty) as cluster:
        await assert_databases_ready(cluster)
        assert (await load_map(cluster.catalog)).version == 1


async def test_two_processes_at_once_both_succeed(empty: Databases) -> None:
    addresses = json.dumps({"shards": empty.shards, "catalog": empty.catalog, "read_model": empty.read_model})
    both = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", MIGRATE), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
        )
        for _ in range(2)
    ]
    await asyncio.gather(*(each.communicate(addresses.encode()) for each in both))
    assert [each.returncode for each in both] == [0, 0]
    async with opened(empty) as cluster:
        await assert_databases_ready(cluster)


async def test_swapped_shards_are_refused_naming_both(cluster_dsns: Databases) -> None:
    one, two, three = cluster_dsns.shards.values()
    swapped = Databases(
        {"shard-1": two, "shard-2": one, "shard-3": three}, cluster_dsns.catalog, cluster_dsns.read_model
    )
    with pytest.raises(InvalidInput, match=r"shard-1 that is shard-2"):
        await migrate_databases(swapped, silent)
    async with opened(swapped) as mixed:
        with pytest.raises(InvalidInput, match=r"shard-1 that is shard-2"):
            await assert_databases_ready(mixed)


async def test_one_database_under_two_shard_names_is_refused(empty: Databases) -> None:
    one, *_ = empty.shards.values()
    twice = Databases({"shard-1": one, "shard-2": one}, empty.catalog, empty.read_model)
    with pytest.raises(InvalidInput, match="one database"):
        await migrate_databases(twice, silent)


async def test_a_database_of_another_kind_is_refused_untouched(cluster_dsns: Databases) -> None:
    before = await schema(cluster_dsns.catalog)
    mixed = Databases(cluster_dsns.shards, cluster_dsns.read_model, cluster_dsns.catalog)
    with pytest.raises(InvalidInput, match="another kind") as caught:
        await migrate_databases(mixed, silent)
    assert caught.value.code == "unknown_revision"
    assert await schema(cluster_dsns.catalog) == before


async def test_a_database_that_does_not_exist_is_reported(empty: Databases) -> None:
    missing = Databases(empty.shards, empty.catalog + "_gone", empty.read_model)
    with pytest.raises(InvalidInput, match=r'catalog: database ".*_gone" does not exist'):
        await migrate_databases(missing, silent)


async def test_a_failed_upgrade_leaves_the_database_as_it_was_and_says_why(fresh_database: FreshDatabase) -> None:
    addresses = Databases({"shard-1": await fresh_database()}, await fresh_database(), await fresh_database())
    database = Database("shard-1", addresses.shards["shard-1"])
    async with database.transaction() as connection:
        await connection.execute(text("CREATE TABLE shipment (somebody_elses int)"))
    with pytest.raises(ShardwiseError, match=r'shard-1 could not be migrated: .*"shipment" already exists'):
        await migrate_databases(addresses, silent)
    assert await current_revision(database) is None
    async with database.transaction() as connection:
        assert await connection.scalar(text("SELECT to_regclass('barrier')")) is None
    await database.close()


async def test_a_worker_refuses_to_start_before_the_migration(empty: Databases) -> None:
    async with opened(empty) as cluster:
        with pytest.raises(NotMigrated, match="run `shardwise migrate`") as caught:
            await assert_databases_ready(cluster)
        assert caught.value.code == "not_migrated"


async def test_migrations_run_from_an_installed_wheel(tmp_path: Path, fresh_database: FreshDatabase) -> None:
    """The package is built, unpacked elsewhere, and upgrades a database from there."""
    site, dsn = tmp_path / "site", await fresh_database()
    await run_python("-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path), cwd=Path(__file__).parents[2])
    (wheel,) = tmp_path.glob("*.whl")
    await run_python("-m", "zipfile", "-e", str(wheel), str(site), cwd=tmp_path)
    printed = await run_python("-c", "import workers; print(workers.__file__)", cwd=tmp_path, site=site)
    assert Path(printed.strip()).is_relative_to(site)

    request = json.dumps({"kind": Kind.SHARD, "dsn": dsn})
    await run_python("-P", "-m", "workers.migration.migrate_one", cwd=tmp_path, site=site, stdin=request)
    database = Database("shard-1", dsn)
    assert await current_revision(database) == history_of(Kind.SHARD).head
    await database.close()


async def run_python(*arguments: str, cwd: Path, site: Path | None = None, stdin: str = "") -> str:
    """What it printed. `site` goes before the installed packages."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, *arguments),
        cwd=cwd,
        env=os.environ | ({"PYTHONPATH": str(site)} if site else {}),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await child.communicate(stdin.encode())
    assert child.returncode == 0
    return printed.decode()
