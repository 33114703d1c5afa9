"""One scratch Postgres server for a test session, started by the product's own launcher, and databases on it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg

from stack.embedded import binaries, postgres_files
from stack.embedded.parts import Supervisor
from stack.embedded.ports import PortClaims
from stack.embedded.postgres import MAINTENANCE_DATABASE, PostgresServer
from stack.embedded.record import StackRecord
from stack.settings import Settings

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
