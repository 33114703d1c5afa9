"""One scratch Postgres server for a test session, started by the product's own launcher, and databases on it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import asyncpg

from stack.embedded import binaries, postgres_files
from stack.embedded.parts import Supervisor
from stack.embedded.ports import PortClaims
from stack.embedded.postgres import MAINTENANCE_DATABASE, PostgresServer
from stack.embedded.record import StackRecord
from stack.settings import Databases, Settings
from workers.migrate import migrate_databases

SHARDS = ("shard-1", "shard-2", "shard-3")
CATALOG, READ_MODEL = "catalog", "read_model"
_numbers = itertools.count(1)

NAME = "scratch"


@contextlib.asynccontextmanager
async def scratch_server(folder: Path) -> AsyncIterator[str]:
    """The DSN of its maintenance database. It forgets everything in a crash, and is the faster for it."""
    claims = PortClaims()
    record = StackRecord(shards=[], ports={NAME: claims.choose(usual=None)})
    files = postgres_files.provide(postgres_files.locate(folder, record, binaries.postgres_bin(Settings())))
    files.make_template(record.password)
    server = PostgresServer(NAME, folder / "postgres.log", files, record, [])
    supervisor = Supervisor(folder, record, lambda _: None)
    try:
        await supervisor.start(server)
        claims.release()
        admin = record.dsn(NAME, MAINTENANCE_DATABASE)
        await _execute(admin, ["ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off"])
        await _execute(admin, ["ALTER SYSTEM SET synchronous_commit = off", "SELECT pg_reload_conf()"])
        yield admin
    finally:
        await supervisor.stop(server)


def sibling(dsn: str, database: str) -> str:
    """The DSN of another database on the same server."""
    return dsn.rpartition("/")[0] + "/" + database


def addresses(admin: str, names: Mapping[str, str]) -> Databases:
    """`names`: part of the installation → its database on the server; all but catalog and read model are shards."""
    dsns = {part: sibling(admin, database) for part, database in names.items()}
    catalog, read_model = dsns.pop(CATALOG), dsns.pop(READ_MODEL)
    return Databases(shards=dsns, catalog=catalog, read_model=read_model)


async def migrated_templates(admin: str) -> dict[str, str]:
    """By part, databases that `shardwise migrate` has made: empty of business, complete in everything else."""
    templates = {part: f"template_{part}" for part in (*SHARDS, CATALOG, READ_MODEL)}
    await create_databases(admin, dict.fromkeys(templates.values(), "template0"))
    await migrate_databases(addresses(admin, templates), lambda _: None)
    return templates


@contextlib.asynccontextmanager
async def lasting_databases(admin: str, templates: Mapping[str, str]) -> AsyncIterator[Databases]:
    """Copies of the templates for many tests: making databases costs more than most tests. Dropped at the end."""
    number = next(_numbers)
    names = {part: f"lasting_{number}_{part}" for part in templates}
    await create_databases(admin, {names[part]: template for part, template in templates.items()})
    try:
        yield addresses(admin, names)
    finally:
        await drop_databases(admin, list(names.values()))


async def create_databases(admin: str, templates: dict[str, str]) -> None:
    """`templates`: new name → the database it is a copy of."""
    copies = [
        # The default strategy writes every page to the log; copying files is quicker where nobody waits for the disk.
        f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY'
        for name, template in templates.items()
    ]
    await asyncio.gather(*(_execute(admin, [copy]) for copy in copies))


async def drop_databases(admin: str, names: Sequence[str]) -> None:
    await _execute(admin, [f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for name in names])


async def _execute(dsn: str, statements: Sequence[str]) -> None:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
