"""The servers of a run: an embedded stack whose parts are killed, frozen and started again, and waited for."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import psutil  # type: ignore[import-untyped]

from cli.embedded_stack import UpOptions, bring_up
from domain.errors import Busy, ShardwiseError, Unreachable
from shards.connections.cluster import Cluster
from shards.monitoring.replicas import replica_documents
from shards.outbox.lag import lag_of
from shards.projection.projector import Projector
from shards.tables.versions import Version
from stack.embedded.processes import find
from stack.embedded.record import StackRecord
from stack.embedded.stack import EmbeddedStack
from stack.embedded.waiting import attempts
from stack.settings import Settings, resolve_databases
from tests.support.freezing import frozen

SECONDS_MAX = 60.0
PROJECT_EVERY_SECONDS = 0.02

# Commits of clients that were given up can still go on.
_AT_WORK = """
    SELECT count(*) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
"""


class Servers:
    """Its statements are sent as the owner. Without `workers` nothing follows the events but `projecting`."""

    def __init__(self, stack: EmbeddedStack, settings: Settings, workers: int) -> None:
        self.stack = stack
        self.settings = settings
        self.workers = workers
        self.delay_ms = 0

    @property
    def record(self) -> StackRecord:
        return StackRecord.load(self.stack.data_dir)

    @property
    def shards(self) -> list[str]:
        return self.record.shards

    @property
    def replicas(self) -> dict[str, str]:
        """Each one's name with its shard's."""
        return self.record.replica_servers

    async def up(self) -> None:
        """Starts what is down. What is frozen has to be thawed before."""
        await self.stack.start_servers(usual_ports=False)
        await self.stack.start_workers()
        # One that was cloned anew has forgotten it.
        await self.delay_replay(self.delay_ms)

    def kill(self, part: str) -> None:
        """All its processes, as where a machine goes away."""
        for process in self._family(part):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    async def end(self, server: str) -> None:
        """In peace: replicas have got all of it."""

        async def is_gone() -> bool:
            return not self._family(server)

        self._family(server)[0].send_signal(signal.SIGINT)
        await until(is_gone)

    @contextmanager
    def frozen(self, part: str) -> Iterator[None]:
        family = self._family(part)
        with frozen(family[0].pid) if family else contextlib.nullcontext():
            yield

    def _family(self, part: str) -> list[psutil.Process]:
        """The postmaster or the worker first; empty if it does not run."""
        main = find(self.record.processes.get(part))
        if main is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return [main, *main.children(recursive=True)]
        return []

    async def ask(self, server: str, *statements: str) -> object:
        """The one value that the last statement returns."""
        connection = await asyncpg.connect(self.record.owner_dsn(server), timeout=10)
        try:
            value = None
            for statement in statements:
                value = await connection.fetchval(statement, timeout=20)
            return value
        finally:
            await connection.close()

    async def set(self, server: str, **settings: object) -> None:
        """Settings of the server from now on, also after it was started again; None: as before."""
        changes = [
            f"ALTER SYSTEM RESET {name}" if value is None else f"ALTER SYSTEM SET {name} = '{value}'"
            for name, value in settings.items()
        ]
        await self.ask(server, *changes, "SELECT pg_reload_conf()")
        for name, value in settings.items():
            if value is not None:
                await until(lambda name=name, value=value: self._has(server, name, value))

    async def _has(self, server: str, name: str, value: object) -> bool:
        found = await self.ask(server, f"SELECT current_setting('{name}')")
        return found == str(value)

    async def delay_replay(self, milliseconds: int) -> None:
        """Replicas replay commits only so long after they happened: a lag that is real, and that LSNs alone tell of."""
        value = f"{milliseconds}ms" if milliseconds else None
        if milliseconds != self.delay_ms or milliseconds:
            self.delay_ms = milliseconds
            await asyncio.gather(*(self.set(name, recovery_min_apply_delay=value) for name in self.replicas))

    async def caught_up(self) -> None:
        """Nothing is at work any more, replicas have replayed everything, and the read model has taken everything."""
        for shard in self.shards:
            await until(lambda shard=shard: self._is_at_rest(shard))
        at = resolve_databases(self.settings)
        async with Cluster(at.shards, at.catalog, at.read_model, pool_size=2, replicas=at.replicas) as cluster:

            async def are_caught_up() -> bool:
                found = await replica_documents(cluster, 0)
                lags = [await lag_of(shard, cluster.read_model) for shard in cluster.primaries.values()]
                behind = any(lag.by_consumer[Version.LIVE].events for lag in lags)
                return all(each.fit for each in found) and not behind

            await until(are_caught_up)

    async def caught_up_with(self, shard: str) -> None:
        """The shard's replicas have replayed everything that is in its log now."""
        end = await self.ask(shard, "SELECT CAST(pg_current_wal_flush_lsn() AS text)")
        query = f"SELECT pg_last_wal_replay_lsn() >= '{end}'"
        for replica in self.record.replicas_of(shard):
            await until(lambda replica=replica: self.is_true(replica, query))

    async def is_true(self, server: str, query: str) -> bool:
        return await self.ask(server, query) is True

    async def _is_at_rest(self, shard: str) -> bool:
        return await self.ask(shard, _AT_WORK) == 0

    @asynccontextmanager
    async def projecting(self) -> AsyncIterator[None]:
        """Inside the block the read model follows the shards, as a worker's relay has it do: where there is none."""
        at = resolve_databases(self.settings)
        async with Cluster(at.shards, at.catalog, at.read_model, pool_size=2) as cluster:
            projectors = [Projector(shard, cluster.read_model) for shard in cluster.primaries.values()]
            following = [asyncio.create_task(_follow(each)) for each in projectors]
            try:
                yield
            finally:
                for each in following:
                    each.cancel()
                await asyncio.gather(*following, return_exceptions=True)


async def _follow(projector: Projector) -> None:
    while True:
        with contextlib.suppress(ShardwiseError):
            await projector.project(Version.LIVE)
        await asyncio.sleep(PROJECT_EVERY_SECONDS)


@asynccontextmanager
async def running(folder: Path, shards: int, replicas: int, workers: int) -> AsyncIterator[Servers]:
    """A stack of its own in an empty folder."""
    settings = Settings(data_dir=folder)
    stack = EmbeddedStack(folder, settings)
    try:
        options = UpOptions(shards=shards, workers=workers, detach=True, replicas=replicas)
        await bring_up(stack, settings, options, lambda _: None, usual_ports=False)
        yield Servers(stack, settings, workers)
    finally:
        await stack.stop()


async def until(holds: Callable[[], Awaitable[bool]], seconds: float = SECONDS_MAX) -> None:
    """An answer that does not come counts as no."""
    failure: Exception | None = None
    async for _ in attempts(seconds):
        try:
            if await holds():
                return
        except (Unreachable, Busy, OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            failure = error
    raise AssertionError(f"it did not come to that within {seconds} s") from failure
