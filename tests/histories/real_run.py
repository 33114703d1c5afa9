"""One run: clients at work while servers are killed and frozen; then all is healed, and every server is read."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from unittest.mock import patch

import asyncpg

from shards.reading import lists
from shardwise import Shardwise
from tests.histories.clients import Caller, Client, Mix, Row, new_rows, work
from tests.histories.operations import History, Level
from tests.histories.recorder import Recorder
from tests.histories.scans import Violation, scan
from tests.histories.servers import Servers
from tests.histories.strikes import Strike, Striking

# A list waits ten seconds for a projection that is away. Clients of a run have more to do.
LIST_WAIT_SECONDS = 1.5
# Each stands for a process: what one knows of the replicas the other has to find out.
APPLICATIONS = 2
WATCH_SECONDS = 0.1
AT_REST = "at rest"
ATTEMPTS_MAX = 30


@dataclass(frozen=True)
class Plan:
    """`operations` at least, counted as rows that were written or read, and `strikes_min` strikes. `strikes`: without
    end, or as many as there will be. `prefix` begins the names of its rows: each run on the same servers has its
    own."""

    seed: str
    operations: int
    strikes: Iterable[Strike] = ()
    strikes_min: int = 0
    clients: int = 8
    rows: int = 6
    delay_ms: int = 0
    prefix: str = "ROW"
    mix: Mix = field(default_factory=Mix)


@dataclass
class Report:
    """`unexpected`: errors that no client should get while servers go away and come back. `lost`: how many sessions
    were told that they are, where nothing was restored or promoted. `unstamped` of them had been returned an outcome
    while the primary was away, of which nobody knows whether the primary kept it when it came back; the others should
    not have been lost."""

    history: History
    violations: Sequence[Violation]
    strikes: Mapping[str, int]
    unexpected: Sequence[str]
    lost: int
    unstamped: int

    @property
    def is_right(self) -> bool:
        return not self.violations and not self.unexpected and self.lost == self.unstamped

    def __str__(self) -> str:
        operations = self.history.operations
        reads = [each for each in operations if not each.is_write and each.is_ok]
        return "\n".join(
            [
                f"{len(operations)} operations: {_counts(f'{each.kind} {each.outcome}' for each in operations)}",
                f"reads by level: {_counts(each.level for each in reads)}",
                f"reads by server: {_counts(each.server for each in reads)}",
                f"strikes: {_counts(Counter(self.strikes).elements())}",
                f"sessions lost: {self.lost}, {self.unstamped} of them with an outcome that was not stamped",
                f"unexpected errors: {len(self.unexpected)}",
                *list(self.unexpected)[:5],
                f"violations: {len(self.violations)}; {_counts(each.fault for each in self.violations)}",
                *[str(each) for each in self.violations[:5]],
            ]
        )


async def run(
    servers: Servers,
    plan: Plan,
    say: Callable[[str], None] = lambda _: None,
    is_enough: Callable[[History], bool] | None = None,
) -> Report:
    """`is_enough` is asked now and then, and ends the clients' work before its time."""
    recorder, striking = Recorder(), Striking(servers)
    async with AsyncExitStack() as opened:
        opened.enter_context(patch.object(lists, "WAIT_SECONDS", LIST_WAIT_SECONDS))
        if not servers.workers:
            await opened.enter_async_context(servers.projecting())
        apps = [
            await opened.enter_async_context(await Shardwise.connect(settings=servers.settings))
            for _ in range(APPLICATIONS)
        ]
        rows = await new_rows(apps[0], recorder, plan.prefix, plan.rows)
        await servers.caught_up()
        await servers.delay_replay(plan.delay_ms)
        clients = _clients(plan, apps, recorder, rows)
        over = asyncio.Event()

        async def watch() -> None:
            while not over.is_set():
                await asyncio.sleep(WATCH_SECONDS)
                say(f"{len(recorder)} operations, {striking.count} strikes")
                is_done = len(recorder) >= plan.operations and striking.count >= plan.strikes_min
                if is_done or (is_enough is not None and is_enough(recorder.history())):
                    over.set()

        async with asyncio.TaskGroup() as group:
            group.create_task(work(clients, lambda: not over.is_set()))
            group.create_task(watch())
            group.create_task(striking.until(over, plan.strikes))
        await servers.delay_replay(0)
        await servers.caught_up()
        recorder.rest()
        await _read_everywhere(servers, apps[0], recorder, rows)
    history = recorder.history()
    unexpected = [each for client in clients for each in client.unexpected]
    callers = list({id(client.caller): client.caller for client in clients}.values())
    lost, unstamped = (sum(each) for each in zip(*((caller.lost, caller.unstamped) for caller in callers), strict=True))
    return Report(history, scan(history), striking.done, unexpected, lost, unstamped)


def _clients(plan: Plan, apps: Sequence[Shardwise], recorder: Recorder, rows: Sequence[Row]) -> list[Client]:
    """The first two use one session, in one process; the others have one each."""
    callers = [Caller(f"session-{number}") for number in range(plan.clients - 1)]
    return [
        Client(
            f"client-{number}",
            callers[max(0, number - 1)],
            apps[number // 2 % len(apps)],
            recorder,
            rows,
            random.Random(f"{plan.seed}-{number}"),
            plan.mix,
        )
        for number in range(plan.clients)
    ]


async def _read_everywhere(servers: Servers, app: Shardwise, recorder: Recorder, rows: Sequence[Row]) -> None:
    """Each row on the primary, on each replica, and in the read model; in the way of the product where it lets one
    choose the server."""
    reader = Client(AT_REST, Caller(AT_REST), app, recorder, rows)
    for row in rows:
        await _insistently(lambda row=row: reader.read(row, Level.STRONG))
    await _insistently(lambda: reader.read_list(Level.EVENTUAL))
    for replica, shard in servers.replicas.items():
        connection = await asyncpg.connect(servers.record.owner_dsn(replica))
        try:
            for row in (row for row in rows if row.shard == shard):
                with recorder.read(AT_REST, AT_REST, row.key, row.shard, Level.EVENTUAL) as call:
                    version = await connection.fetchval("SELECT version FROM product WHERE sku = $1", row.sku)
                    call.ok(version or 0, replica)
        finally:
            await connection.close()


async def _insistently(read: Callable[[], Awaitable[bool]]) -> None:
    """Connections that a kill has ended are found out one by one."""
    for _ in range(ATTEMPTS_MAX):
        if await read():
            return
    raise AssertionError("at rest, and it cannot be read")


def _counts(things: Iterable[object]) -> str:
    counted = Counter(map(str, things))
    return ", ".join(f"{count} {thing}" for thing, count in sorted(counted.items())) or "none"
