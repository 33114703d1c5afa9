"""Start, stop and ask the whole stack of one data directory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

from domain.errors import InvalidInput
from stack.embedded import binaries, postgres_files, processes, status
from stack.embedded.lock import DirectoryLock
from stack.embedded.parts import Supervisor
from stack.embedded.port_plan import PortPlan
from stack.embedded.postgres_files import PostgresFiles
from stack.embedded.record import StackRecord
from stack.embedded.roster import Roster
from stack.embedded.status import WorkerStatus
from stack.settings import Settings

DEFAULT_SHARDS = 3


def _silent(_: str) -> None:
    pass


class EmbeddedStack:
    """Every change is safe to repeat after a kill at any point, and made by one process at a time.

    Starting goes servers first, then (the caller's business) the schema, then workers. Servers and workers outlive the
    process that started them.
    """

    def __init__(self, data_dir: Path, settings: Settings, say: Callable[[str], None] = _silent) -> None:
        self.data_dir = data_dir.resolve()
        self._settings = settings
        self._say = say
        self._lock = DirectoryLock(self.data_dir, say)

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the data directory over several calls. Raises InvalidInput when another holds it for two minutes."""
        async with self._lock.held():
            yield

    async def start_servers(self, shards: int | None = None, usual_ports: bool = True) -> list[str]:
        """Have every database server and Temporal run and answer; say what was done.

        `shards` None: as before, three at first. Raises InvalidInput when the stack has another number of shards
        (nothing is changed) or a program is missing, Unreachable when a server does not start or a port it must keep
        is taken.
        """
        async with self.exclusive():
            record = self._record_for(shards)
            binaries.temporal_bin(self._settings)  # Missing programs are told before anything is made.
            programs = binaries.postgres_bin(self._settings)
            files = postgres_files.locate(self.data_dir, record, programs)
            supervisor = self._supervisor(record)
            await _all(
                supervisor.clear(part) for part in Roster(self.data_dir, record, self._settings, files).servers()
            )
            plan = PortPlan(record)
            with contextlib.closing(plan):
                changed = await self._give_role(record)
                moved = plan.settle(usual_ports, self._running(record))
                record.save(self.data_dir)
                (self.data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
                files = await asyncio.to_thread(postgres_files.provide, files)
                return changed + moved + await self._start_servers(record, files)

    async def _give_role(self, record: StackRecord) -> list[str]:
        """In a stack of a release in which everybody was the owner, workers that still are end first: what they leave
        in doubt is the owner's, whom `migrate` still is."""
        if record.role_password is not None:
            return []
        supervisor, roster = self._supervisor(record), Roster(self.data_dir, record, self._settings)
        stopped = await _all(supervisor.stop(worker) for worker in roster.workers())
        record.draw_role_password()
        return stopped

    async def _start_servers(self, record: StackRecord, files: PostgresFiles) -> list[str]:
        supervisor = self._supervisor(record)
        roster = Roster(self.data_dir, record, self._settings, files)

        async def start_postgres() -> list[str]:
            servers = roster.postgres()
            if not all(server.folder.exists() for server in servers):
                self._say("creating the files of the databases")
                await asyncio.to_thread(files.make_template, record.password)
            done = await _all(supervisor.start(server) for server in servers)
            await asyncio.to_thread(files.drop_template)
            return done

        return await _all([supervisor.start(roster.temporal()), start_postgres()])

    async def start_workers(self, count: int | None = None) -> list[str]:
        """Have this many workers poll, none beside them; say what was done. None: as before, two at first.

        Raises Unreachable where there is no stack, or a worker does not come to poll.
        """
        async with self.exclusive():
            record = StackRecord.load(self.data_dir)
            if count is not None and count != record.workers:
                record.workers = count
                record.save(self.data_dir)
            supervisor = self._supervisor(record)
            roster = Roster(self.data_dir, record, self._settings)
            stopped = await _all(supervisor.stop(worker) for worker in roster.surplus_workers())
            return stopped + await _all(supervisor.start(worker) for worker in roster.workers())

    async def stop(self) -> list[str]:
        """End workers, Temporal and the databases, in that order; say what was done.

        Leaves no process, also none that a kill of an earlier `up` left unrecorded. Safe to repeat.
        """
        if StackRecord.find(self.data_dir) is None:
            return []
        async with self.exclusive():
            record = StackRecord.load(self.data_dir)
            supervisor = self._supervisor(record)
            done: list[str] = []
            for group in Roster(self.data_dir, record, self._settings).stop_order():
                done += await _all(supervisor.stop(part) for part in group)
            return done

    async def remove(self) -> None:
        """Stop it, and forget it with its data, also where the databases' files lie outside the data directory.

        Never undone. Safe to repeat; a crash leaves some of the files.
        """
        await self.stop()
        record = StackRecord.find(self.data_dir)
        if record is not None:
            shutil.rmtree(postgres_files.home_of(self.data_dir, record), ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    async def status(self) -> status.StackStatus:
        """Ask every part now. Raises Unreachable where there is no stack."""
        record = StackRecord.load(self.data_dir)
        return await status.ask(record, Roster(self.data_dir, record, self._settings))

    async def workers(self) -> list[WorkerStatus]:
        """Only they, at the price of a look at their processes. Raises Unreachable where there is no stack."""
        record = StackRecord.load(self.data_dir)
        return await status.ask_workers(record, Roster(self.data_dir, record, self._settings))

    def running(self) -> bool:
        """Whether any recorded process of the stack lives. False where there is no stack."""
        record = StackRecord.find(self.data_dir)
        return record is not None and bool(self._running(record))

    def _record_for(self, shards: int | None) -> StackRecord:
        record = StackRecord.find(self.data_dir)
        if record is None:
            return self._new_record(DEFAULT_SHARDS if shards is None else shards)
        if shards is not None and shards != len(record.shards):
            message = f"{self.data_dir} holds {len(record.shards)} shards, not {shards}; nothing was changed"
            raise InvalidInput("shards", message, code="shards_differ")
        return record

    def _new_record(self, shards: int) -> StackRecord:
        left = self.data_dir / "postgres" / "shard-1"
        if left.exists():
            message = f"{left} holds a database, but {StackRecord.path(self.data_dir)} with its password is gone"
            raise InvalidInput("data_dir", message, code="record_gone")
        record = StackRecord(shards=[f"shard-{number}" for number in range(1, shards + 1)], ports={})
        record.draw_role_password()
        return record

    def _supervisor(self, record: StackRecord) -> Supervisor:
        return Supervisor(self.data_dir, record, self._say)

    @staticmethod
    def _running(record: StackRecord) -> set[str]:
        return {name for name, mark in record.processes.items() if processes.find(mark)}


async def _all(work: Iterable[Awaitable[list[str]]]) -> list[str]:
    """All of it side by side, and all of it ended before the first error is raised: nothing goes on unseen."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [line for result in results if not isinstance(result, BaseException) for line in result]
