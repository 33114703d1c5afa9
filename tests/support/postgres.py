"""Scratch Postgres servers, started by the product's own launcher, and databases on them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import asyncpg

from shards.connections.database import Database
from stack.embedded import binaries, postgres_files
from stack.embedded.parts import Supervisor
from stack.embedded.ports import PortClaims
from stack.embedded.postgres import MAINTENANCE_DATABASE, PostgresServer
from stack.embedded.record import OWNER, ROLE, StackRecord
from stack.settings import Databases, Settings
from workers.migration.migrate import migrate_databases

SHARDS = ("shard-1", "shard-2", "shard-3")
CATALOG, READ_MODEL = "catalog", "read_model"
_numbers = itertools.count(1)

_FORGETFUL = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET full_page_writes = off",
    "ALTER SYSTEM SET synchronous_commit = off",
    "SELECT pg_reload_conf()",
)


class _Servers:
    """In one folder, none of them running yet."""

    def __init__(self, folder: Path, count: int) -> None:
        self._claims = PortClaims()
        ports = {f"scratch-{number}": self._claims.choose(usual=None) for number in range(1, count + 1)}
        self._record = StackRecord(shards=[], ports=ports)
        self._record.role_password = self._record.password
        self.files = postgres_files.provide(
            postgres_files.locate(folder, self._record, binaries.postgres_bin(Settings()))
        )
        self.files.make_template(self._record.password)
        self.parts = [
            PostgresServer(name, folder / f"{name}.log", self.files, self._record, [MAINTENANCE_DATABASE])
            for name in ports
        ]
        self._supervisor = Supervisor(folder, self._record, lambda _: None)

    async def start(self, *parts: PostgresServer) -> list[str]:
        """The DSNs of their maintenance databases."""
        await asyncio.gather(*(self._supervisor.start(part) for part in parts))
        if len(parts) == len(self.parts):
            self._claims.release()
        return [self._record.owner_dsn(part.name, MAINTENANCE_DATABASE) for part in parts]

    async def stop(self, *parts: PostgresServer) -> None:
        await asyncio.gather(*(self._supervisor.stop(part) for part in parts))


@contextlib.asynccontextmanager
async def scratch_server(folder: Path) -> AsyncIterator[str]:
    """The DSN of its maintenance database. It forgets everything in a crash, and is the faster for it."""
    servers = _Servers(folder, 1)
    try:
        [admin] = await servers.start(*servers.parts)
        await _execute(admin, _FORGETFUL)
        yield admin
    finally:
        await servers.stop(*servers.parts)


@contextlib.asynccontextmanager
async def scratch_servers(folder: Path, count: int) -> AsyncIterator[tuple[list[str], dict[str, str]]]:
    """As many, each with the same migrated templates: the first one's files are copied. Their DSNs and the
    templates' names."""
    servers = _Servers(folder, count)
    first, *others = servers.parts
    try:
        [admin] = await servers.start(first)
        await _execute(admin, _FORGETFUL)
        templates = await migrated_templates(admin)
        if others:
            await servers.stop(first)
            for other in others:
                shutil.copytree(first.folder, other.folder, symlinks=True)
        yield await servers.start(*servers.parts), templates
    finally:
        await servers.stop(*servers.parts)


def owner_of(databases: Databases) -> Databases:
    """The same databases, addressed as their owner, a superuser: for what the workers' role may not do. On scratch
    servers both have one password."""
    shards = {name: owner_dsn(dsn) for name, dsn in databases.shards.items()}
    return Databases(shards, owner_dsn(databases.catalog), owner_dsn(databases.read_model))


def owner_dsn(dsn: str) -> str:
    return dsn.replace(f"//{ROLE}:", f"//{OWNER}:", 1)


@contextlib.asynccontextmanager
async def owned(database: Database) -> AsyncIterator[Database]:
    """The same one as its owner reaches it."""
    owner = Database(database.name, owner_dsn(database._dsn), pool_size=1)
    try:
        yield owner
    finally:
        await owner.close()


def role_dsn(dsn: str) -> str:
    return dsn.replace(f"//{OWNER}:", f"//{ROLE}:", 1)


def sibling(dsn: str, database: str) -> str:
    """The DSN of another database on the same server."""
    return dsn.rpartition("/")[0] + "/" + database


def addresses(admin: str, names: Mapping[str, str]) -> Databases:
    """As workers reach them. `names`: part of the installation → its database on the server; all but catalog and read
    model are shards."""
    dsns = {part: sibling(role_dsn(admin), database) for part, database in names.items()}
    catalog, read_model = dsns.pop(CATALOG), dsns.pop(READ_MODEL)
    return Databases(shards=dsns, catalog=catalog, read_model=read_model)


async def migrated_templates(admin: str) -> dict[str, str]:
    """By part, databases that `shardwise migrate` has made: empty of business, complete in everything else."""
    templates = {part: f"template_{part}" for part in (*SHARDS, CATALOG, READ_MODEL)}
    await create_databases(admin, dict.fromkeys(templates.values(), "template0"))
    databases = addresses(admin, templates)
    await migrate_databases(owner_of(databases), lambda _: None, databases)
    return templates


@contextlib.asynccontextmanager
async def lasting_databases(admin: str, templates: Mapping[str, str]) -> AsyncIterator[Databases]:
    """Copies of the templates for many tests: making databases costs more than most tests. Dropped at the end."""
    number = next(_numbers)
    names = {part: f"lasting_{os.getpid()}_{number}_{part}" for part in templates}
    await create_databases(admin, {names[part]: template for part, template in templates.items()})
    # A copy of a database does not have its rights.
    await _execute(admin, [f'GRANT CREATE ON DATABASE "{names[READ_MODEL]}" TO {ROLE}'])
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
