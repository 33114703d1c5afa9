"""One Postgres server of the embedded stack: loopback TCP only, ready for two-phase commit and logical replication."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg

from domain.errors import Unreachable
from stack.embedded.parts import Part
from stack.embedded.postgres_files import CONFIGURATION, PostgresFiles
from stack.embedded.processes import Process
from stack.embedded.record import LOOPBACK, StackRecord

MAINTENANCE_DATABASE = "postgres"
ANSWER_SECONDS = 2.0
# It has answered once, but on a busy machine it may take longer the next time.
FINISH_SECONDS = 30.0
NO_ANSWER = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

_CONFIGURATION = """\
# Rewritten at every start. To change a value for good: ALTER SYSTEM, which wins over this file.
listen_addresses = '{address}'
port = {port}
# A socket's path must stay under 108 bytes, which a data directory's path need not.
unix_socket_directories = ''
cluster_name = '{name}'
max_connections = 200
max_prepared_transactions = 64
wal_level = logical
shared_buffers = 64MB
timezone = 'UTC'
log_timezone = 'UTC'
"""
# Without replication slots, since a slot of a replica that is away would fill its primary's disk. A replica that is
# further behind than this is cloned anew.
_FOR_REPLICAS = """\
wal_keep_size = 256MB
"""
# A server that runs has not read what was written since.
_RELOAD = "SELECT pg_reload_conf() WHERE pg_conf_load_time() < to_timestamp($1)"


class PostgresServer(Part):
    """Recovers from its log after a kill, so it gets more time to become ready than to answer."""

    ready_seconds = 120.0
    # In Postgres, INT is a fast shutdown (sessions end, a checkpoint is written), QUIT one that recovers later.
    stop_ways = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))

    def __init__(self, name: str, log: Path, files: PostgresFiles, record: StackRecord, databases: list[str]) -> None:
        super().__init__(name, files.server(name), log)
        self.user = files.user
        self._files = files
        self._record = record
        self._databases = databases

    @property
    def ports(self) -> list[int]:
        return [self._record.ports[self.name]]

    def prepare(self) -> None:
        if self.name in self._record.made and not self.folder.exists():
            raise Unreachable("files_gone", f"the files of {self.name} are gone: {self.folder}")
        self._files.make(self.name)
        self.start_from_here()

    def start_from_here(self) -> None:
        """The last part of `prepare`, once the files are there."""
        self.write_configuration()
        # Nothing of this server runs any more, so the pid in it belongs to no process or to an unrelated one.
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        self.user.own(self.folder)

    def write_configuration(self) -> None:
        """Leaves the file alone if it says the same already."""
        file, wanted = self.folder / CONFIGURATION, self.configuration()
        if not file.exists() or file.read_text() != wanted:
            file.write_text(wanted)

    def configuration(self) -> str:
        usual = _CONFIGURATION.format(address=LOOPBACK, port=self.ports[0], name=self.name)
        return usual + (_FOR_REPLICAS if self._record.replicas_of(self.name) else "")

    def command(self) -> list[str]:
        return [str(self._files.bin / "postgres"), "-D", str(self.folder)]

    def environment(self) -> Mapping[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}

    async def answers(self) -> bool:
        for database in self._existing():
            if not await answers(self._record.owner_dsn(self.name, database), ANSWER_SECONDS):
                return False
        return True

    def _existing(self) -> list[str]:
        return self._databases if self.name in self._record.made else [MAINTENANCE_DATABASE]

    async def finish_start(self) -> None:
        connection = await asyncpg.connect(
            self._record.owner_dsn(self.name, MAINTENANCE_DATABASE), timeout=FINISH_SECONDS
        )
        try:
            self.write_configuration()
            written = (self.folder / CONFIGURATION).stat().st_mtime
            await connection.fetchval(_RELOAD, written)
            existing = {row["datname"] for row in await connection.fetch("SELECT datname FROM pg_database")}
            for database in self._databases:
                if database not in existing:
                    # The server may still carry out the same statement of a start that was killed a moment ago.
                    with contextlib.suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                        await connection.execute(f'CREATE DATABASE "{database}"')
        finally:
            await connection.close()

    def main_of(self, leftovers: Sequence[Process]) -> Process | None:
        """The postmaster. A signal that stops it means other things to its children."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            number = int((self.folder / "postmaster.pid").read_text().splitlines()[0])
            return next((process for process in leftovers if process.pid == number), None)
        return None


async def answers(dsn: str, seconds: float) -> bool:
    """Whether a session on the database can be opened and used."""
    try:
        connection = await asyncpg.connect(dsn, timeout=seconds)
    except NO_ANSWER:
        return False
    try:
        return bool(await connection.fetchval("SELECT true", timeout=seconds))
    except NO_ANSWER:
        return False
    finally:
        connection.terminate()
