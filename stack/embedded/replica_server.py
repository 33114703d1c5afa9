"""A replica of one shard of the embedded stack: cloned from its primary, from which it then streams."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from domain.errors import Unreachable
from stack.embedded import processes
from stack.embedded.cloning import clone, drop_draft
from stack.embedded.postgres import MAINTENANCE_DATABASE, NO_ANSWER, PostgresServer
from stack.embedded.postgres_files import PostgresFiles
from stack.embedded.processes import Process
from stack.embedded.record import LOOPBACK, OWNER, SHARD_DATABASE, StackRecord

# How long it may neither stream nor replay anything until its primary is taken to lack what it needs.
STREAM_SECONDS = 10.0
POLL_SECONDS = 0.1
CONNECT_SECONDS = 5.0
_PASSWORD_FILE = "primary.password"

_REPLICA_CONFIGURATION = """\
primary_conninfo = '{primary}'
# Five seconds would pass before it tries again to stream from a primary that was restarted.
wal_retrieve_retry_interval = 500ms
"""
# The password is in a file: Postgres logs this setting when it changes. Its path is relative to the data directory.
_PRIMARY = (
    f"host={LOOPBACK} port={{port}} user={OWNER} passfile={_PASSWORD_FILE} application_name={{name}} "
    "tcp_user_timeout=10000"
)


class ReplicaServer(PostgresServer):
    """Its files are only a copy: where they are gone, they are made anew."""

    def __init__(self, name: str, primary: str, log: Path, files: PostgresFiles, record: StackRecord) -> None:
        super().__init__(name, log, files, record, [SHARD_DATABASE])
        self._primary = primary

    def prepare(self) -> None:
        if not self.folder.exists():
            clone(self._files, self.name, self._record.ports[self._primary], self._record.password)
        self._write_password_file()
        # Makes it a replica. A promotion deletes it.
        (self.folder / "standby.signal").touch()
        self.start_from_here()

    def _write_password_file(self) -> None:
        """Anew at every start, like the configuration: the primary's port may have changed."""
        place = f"{LOOPBACK}:{self._record.ports[self._primary]}"
        file = self.folder / _PASSWORD_FILE
        file.unlink(missing_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(f"{place}:*:{OWNER}:{self._record.password.get_secret_value()}\n")

    def configuration(self) -> str:
        primary = _PRIMARY.format(port=self._record.ports[self._primary], name=self.name)
        return super().configuration() + _REPLICA_CONFIGURATION.format(primary=primary)

    def discard(self) -> None:
        """Delete its files. It must not run. A crash leaves some of them, which the next start or call deletes."""
        drop_draft(self._files.draft(self.name))
        if self.folder.exists():
            # Renamed first, so that what a crash leaves does not look like a replica's files.
            self.folder.rename(self._files.draft(self.name))
            shutil.rmtree(self._files.draft(self.name), ignore_errors=True)

    def _existing(self) -> list[str]:
        return self._databases

    async def finish_start(self) -> None:
        """Waits until it streams. Raises Unreachable if it does not, and replays nothing either: its primary does not
        have what it needs any more, or has become another one."""
        clock = asyncio.get_running_loop().time
        replayed, since = None, clock()
        while clock() < since + STREAM_SECONDS:
            if await self._streams():
                return
            before, replayed = replayed, await self._replayed()
            if replayed != before:
                since = clock()
            await asyncio.sleep(POLL_SECONDS)
        raise Unreachable("replica_not_streaming", f"{self.name} does not stream from {self._primary}")

    async def _streams(self) -> bool:
        """By what its primary says: the replica itself believes so for a moment whenever it tries. The primary says
        `catchup` while it sends what is old."""
        query = "SELECT state FROM pg_stat_replication WHERE application_name = $1"
        return bool(await self._ask(self._primary, query, self.name) == "streaming")

    async def _replayed(self) -> object:
        """None if it is no replica any more."""
        query = "SELECT CAST(pg_last_wal_replay_lsn() AS text) WHERE pg_is_in_recovery()"
        return await self._ask(self.name, query)

    async def _ask(self, server: str, query: str, *arguments: str) -> object:
        """None also if it does not answer."""
        with contextlib.suppress(*NO_ANSWER):
            dsn = self._record.owner_dsn(server, MAINTENANCE_DATABASE)
            connection = await asyncpg.connect(dsn, timeout=CONNECT_SECONDS)
            try:
                return await connection.fetchval(query, *arguments, timeout=CONNECT_SECONDS)
            finally:
                connection.terminate()
        return None

    def leftovers(self) -> list[Process]:
        """Also a `pg_basebackup` that goes on after a kill."""
        return [*super().leftovers(), *processes.working_in(self._files.draft(self.name))]

    def main_of(self, leftovers: Sequence[Process]) -> Process | None:
        clones = processes.working_in(self._files.draft(self.name)) if leftovers else []
        return next(iter(clones), None) or super().main_of(leftovers)
