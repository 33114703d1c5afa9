"""Start, stop and query the whole stack of one data directory."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

from domain.errors import InvalidInput, Unreachable
from stack.embedded import binaries, partition, postgres_files, processes, status
from stack.embedded.lock import DirectoryLock
from stack.embedded.parts import Supervisor
from stack.embedded.port_plan import PortPlan
from stack.embedded.postgres_files import PostgresFiles
from stack.embedded.record import StackRecord
from stack.embedded.replica_server import ReplicaServer
from stack.embedded.stack_parts import StackParts
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

    async def start_servers(
        self, shards: int | None = None, usual_ports: bool = True, replicas: int | None = None
    ) -> list[str]:
        """Start every database server and Temporal, and wait until they answer; returns what was done.

        `shards` None: as before; three in a new stack. `replicas`, of each shard, None: as before; none in a new stack.
        Those beyond are stopped and deleted. Raises InvalidInput when the stack has another number of shards
        (nothing is changed) or a program is missing, Unreachable when a server does not start or a port it must keep
        is taken.
        """
        async with self.exclusive():
            record = self._record_for(shards)
            binaries.temporal_bin(self._settings)  # A missing program is reported before anything is created.
            programs = binaries.postgres_bin(self._settings)
            files = postgres_files.locate(self.data_dir, record, programs)
            supervisor = self._supervisor(record)
            healed = self._heal_partitions(record)
            await _all(
                supervisor.clear(part) for part in StackParts(self.data_dir, record, self._settings, files).servers()
            )
            plan = PortPlan(record)
            with contextlib.closing(plan):
                changed = await self._give_role(record)
                # Only now: a record that is saved needs a port for each replica.
                record.replicas = record.replicas if replicas is None else replicas
                moved = plan.settle(usual_ports, self._running(record))
                record.save(self.data_dir)
                changed += await self._remove_surplus_replicas(record, files)
                (self.data_dir / "logs").mkdir(mode=0o700, exist_ok=True)
                files = await asyncio.to_thread(postgres_files.provide, files)
                return healed + changed + moved + await self._start_servers(record, files)

    def _heal_partitions(self, record: StackRecord) -> list[str]:
        return [f"healed the partition of {shard}" for shard in record.shards if partition.heal(self.data_dir, shard)]

    async def _give_role(self, record: StackRecord) -> list[str]:
        """In a stack of a release in which everybody connected as the owner, such workers end first: the transactions
        that they leave in doubt belong to the owner, as which `migrate` still connects and can end them."""
        if record.role_password is not None:
            return []
        supervisor, parts = self._supervisor(record), StackParts(self.data_dir, record, self._settings)
        stopped = await _all(supervisor.stop(worker) for worker in parts.workers())
        record.create_role_password()
        return stopped

    async def _remove_surplus_replicas(self, record: StackRecord, files: PostgresFiles) -> list[str]:
        supervisor = self._supervisor(record)
        surplus = StackParts(self.data_dir, record, self._settings, files).surplus_replicas()
        await _all(supervisor.stop(replica) for replica in surplus)
        for replica in surplus:
            await asyncio.to_thread(replica.discard)
            record.forget(replica.name)
            record.save(self.data_dir)
        return [f"removed {replica.name}" for replica in surplus]

    async def _start_servers(self, record: StackRecord, files: PostgresFiles) -> list[str]:
        supervisor = self._supervisor(record)
        parts = StackParts(self.data_dir, record, self._settings, files)

        async def start_postgres() -> list[str]:
            servers = parts.postgres()
            if not all(server.folder.exists() for server in servers):
                self._say("creating the files of the databases")
                await asyncio.to_thread(files.make_template, record.password)
            done = await _all(supervisor.start(server) for server in servers)
            await asyncio.to_thread(files.drop_template)
            return done + await _all(self._start_replica(supervisor, replica) for replica in parts.replicas())

        return await _all([supervisor.start(parts.temporal()), start_postgres()])

    async def _start_replica(self, supervisor: Supervisor, replica: ReplicaServer) -> list[str]:
        """A replica is only a copy: one that does not start, or that its primary cannot feed any more, is cloned
        anew."""
        was_there = replica.folder.exists()
        if not was_there:
            self._say(f"cloning {replica.name}")
        try:
            return await supervisor.start(replica)
        except Unreachable as fault:
            if not was_there:
                raise
            self._say(f"cloning {replica.name} anew: {fault.message.partition(';')[0]}")
        await supervisor.stop(replica)
        await asyncio.to_thread(replica.discard)
        return [f"cloned {replica.name} anew", *(await supervisor.start(replica))]

    async def start_workers(self, count: int | None = None) -> list[str]:
        """Start this many workers and wait until they poll, and stop any others; returns what was done. None: as
        before; two in a new stack.

        Raises Unreachable if there is no stack, or a worker does not poll in time.
        """
        async with self.exclusive():
            record = StackRecord.load(self.data_dir)
            if count is not None and count != record.workers:
                record.workers = count
                record.save(self.data_dir)
            supervisor = self._supervisor(record)
            parts = StackParts(self.data_dir, record, self._settings)
            stopped = await _all(supervisor.stop(worker) for worker in parts.surplus_workers())
            return stopped + await _all(supervisor.start(worker) for worker in parts.workers())

    async def stop(self) -> list[str]:
        """Stop workers, Temporal, replicas and the databases, in that order; returns what was done.

        Leaves no process, not even one that a kill of an earlier `up` left unrecorded. Safe to repeat.
        """
        if StackRecord.find(self.data_dir) is None:
            return []
        async with self.exclusive():
            record = StackRecord.load(self.data_dir)
            supervisor = self._supervisor(record)
            done = self._heal_partitions(record)
            for group in StackParts(self.data_dir, record, self._settings).stop_order():
                done += await _all(supervisor.stop(part) for part in group)
            return done

    async def remove(self) -> None:
        """Stop the stack and delete all its data, also if the databases' files are outside the data directory.

        Never undone. Safe to repeat; a crash leaves some of the files.
        """
        await self.stop()
        record = StackRecord.find(self.data_dir)
        if record is not None:
            shutil.rmtree(postgres_files.home_of(self.data_dir, record), ignore_errors=True)
        shutil.rmtree(self.data_dir, ignore_errors=True)

    async def status(self) -> status.StackStatus:
        """Query every part now. Raises Unreachable if there is no stack."""
        record = StackRecord.load(self.data_dir)
        return await status.query(record, StackParts(self.data_dir, record, self._settings))

    async def workers(self) -> list[WorkerStatus]:
        """Only the workers: looks at their processes and opens no connection. Raises Unreachable if there is no
        stack."""
        record = StackRecord.load(self.data_dir)
        return await status.read_workers(record, StackParts(self.data_dir, record, self._settings))

    def running(self) -> bool:
        """Whether any recorded process of the stack lives. False if there is no stack."""
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
        existing = self.data_dir / "postgres" / "shard-1"
        if existing.exists():
            message = f"{existing} holds a database, but {StackRecord.path(self.data_dir)} with its password is gone"
            raise InvalidInput("data_dir", message, code="record_gone")
        record = StackRecord(shards=[f"shard-{number}" for number in range(1, shards + 1)], ports={})
        record.create_role_password()
        return record

    def _supervisor(self, record: StackRecord) -> Supervisor:
        return Supervisor(self.data_dir, record, self._say)

    @staticmethod
    def _running(record: StackRecord) -> set[str]:
        return {name for name, mark in record.processes.items() if processes.find(mark)}


async def _all(work: Iterable[Awaitable[list[str]]]) -> list[str]:
    """Runs all concurrently, and waits for all to end before the first error is raised: nothing goes on unnoticed."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [line for result in results if not isinstance(result, BaseException) for line in result]
