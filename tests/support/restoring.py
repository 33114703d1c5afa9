"""A shard on a Postgres server of its own, which comes back older: from a copy of its files, by promoting a standby
that lacks what came last, or empty."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg

from stack.embedded import binaries, postgres_files
from stack.embedded.parts import Supervisor
from stack.embedded.ports import PortClaims
from stack.embedded.postgres import MAINTENANCE_DATABASE, PostgresServer
from stack.embedded.record import StackRecord
from stack.embedded.status import without_password
from stack.embedded.waiting import attempts
from stack.settings import Databases, Settings
from tests.support.postgres import create_databases, owner_of
from workers.migration.migrate import migrate_databases

NAME, STANDBY = "restored", "standby"
MIGRATED = "migrated"
BACKUP_SECONDS_MAX = 60

_numbers = itertools.count(1)


class RestoredServer:
    """Stopped and started by the product's own launcher; its address stays the same whatever its files are."""

    def __init__(self, folder: Path) -> None:
        claims = PortClaims()
        ports = {name: claims.choose(usual=None) for name in (NAME, STANDBY)}
        claims.release()
        self._record = StackRecord(shards=[], ports=ports)
        self._record.role_password = self._record.password
        self._files = postgres_files.provide(
            postgres_files.locate(folder, self._record, binaries.postgres_bin(Settings()))
        )
        self._supervisor = Supervisor(folder, self._record, lambda _: None)
        self._server = PostgresServer(NAME, folder / "postgres.log", self._files, self._record, [MAINTENANCE_DATABASE])
        self._standby = PostgresServer(STANDBY, folder / "standby.log", self._files, self._record, [])
        self._kept = folder / "kept"

    async def new_shard(self, databases: Databases, shard: str) -> Databases:
        """The installation with this shard on a new database here, migrated."""
        name = f"shard_{next(_numbers)}"
        admin = self._record.owner_dsn(NAME, MAINTENANCE_DATABASE)
        is_migrated = bool(await self._ask(NAME, f"SELECT true FROM pg_database WHERE datname = '{MIGRATED}'"))
        await create_databases(admin, {name: MIGRATED if is_migrated else "template0"})
        made = replace(databases, shards={**databases.shards, shard: self._record.dsn(NAME, name)})
        await migrate_databases(owner_of(made), lambda _: None, made)
        if not is_migrated:
            await create_databases(admin, {MIGRATED: name})
        return made

    async def start(self) -> None:
        await asyncio.to_thread(self._files.make_template, self._record.password)
        await self._supervisor.start(self._server)

    async def stop(self) -> None:
        await self._supervisor.stop(self._standby)
        await self._supervisor.stop(self._server)

    async def restart(self) -> None:
        await self._supervisor.stop(self._server)
        await self._supervisor.start(self._server)

    # ── three ways back ─────────────────────────────────────────────────────────────────────────────────────

    async def keep_copy(self) -> None:
        """Of its files as they are now."""
        shutil.rmtree(self._kept, ignore_errors=True)
        await self._supervisor.stop(self._server)
        await asyncio.to_thread(shutil.copytree, self._server.folder, self._kept, symlinks=True)
        await self._supervisor.start(self._server)

    async def go_back_to_copy(self) -> None:
        await self._supervisor.stop(self._server)
        await self._replace_files_by(self._kept)
        await self._supervisor.start(self._server)

    async def keep_standby(self) -> None:
        """One that has everything up to now, and is then cut off."""
        folder = self._standby.folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        self._files.user.own(folder)
        command = [str(self._files.bin / "pg_basebackup"), "-D", str(folder), "-R", "-X", "stream", "-c", "fast"]
        command += ["-d", without_password(self._record.owner_dsn(NAME, MAINTENANCE_DATABASE))]
        await asyncio.to_thread(
            subprocess.run,
            self._files.user.command(command),
            check=True,
            capture_output=True,
            timeout=BACKUP_SECONDS_MAX,
            env={**os.environ, "PGPASSWORD": self._record.password.get_secret_value()},
            **self._files.user.identity(),
        )
        await self._supervisor.start(self._standby)
        position = await self._ask(NAME, "SELECT CAST(pg_current_wal_insert_lsn() AS text)")
        async for _ in attempts(BACKUP_SECONDS_MAX):
            if await self._ask(STANDBY, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"):
                break
        await self._supervisor.stop(self._standby)

    async def promote_standby(self) -> None:
        """In the place of the primary, which is gone."""
        await self._supervisor.stop(self._server)
        await self._replace_files_by(self._standby.folder)
        await self._supervisor.start(self._server)
        assert await self._ask(NAME, "SELECT pg_promote()")

    async def start_empty(self, dsn: str) -> None:
        """With no more than an empty database at this address."""
        await self._supervisor.stop(self._server)
        await asyncio.to_thread(shutil.rmtree, self._server.folder)
        self._record.made.remove(NAME)
        await self._supervisor.start(self._server)
        name = dsn.rpartition("/")[2]
        await create_databases(self._record.owner_dsn(NAME, MAINTENANCE_DATABASE), {name: "template0"})

    async def _replace_files_by(self, folder: Path) -> None:
        await asyncio.to_thread(shutil.rmtree, self._server.folder)
        await asyncio.to_thread(folder.rename, self._server.folder)

    async def _ask(self, name: str, query: str) -> object:
        connection = await asyncpg.connect(self._record.owner_dsn(name, MAINTENANCE_DATABASE), timeout=10)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[RestoredServer]:
    server = RestoredServer(folder)
    try:
        await server.start()
        yield server
    finally:
        await server.stop()
