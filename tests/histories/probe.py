"""A directed probe for what no random history finds: a primary that is older than its replica.

    python -m tests.histories.probe [--seconds 20] [--plain] [--planted xid]

A commit is in the log, and so on a replica, before the primary shows it. Whoever reads a row on a replica and then at
once on the primary can go back, unless the primary is asked first whether it shows yet what the replica did. Nothing
may come between the two reads: no pause, no other row, no delay of replay, under which replicas are never ahead.

So many sessions do just that, on one row that is written all the time. They read the row at `monotonic`, which a
replica answers, and then at `strong`, which the primary does.

How often that goes wrong without the check is a matter of microseconds: 135 times in 27,592 on one machine, never on
another. So the race is lost on purpose. With `synchronous_commit = remote_apply`, as many installations have it, the
primary shows a commit only after its synchronous replicas have told it that they replayed it; and one of two replicas
replays each commit some milliseconds late. For so long every commit is on the other replica, and not on the primary.
`--plain` leaves the servers as they are.

Each reader is judged by what itself was shown, and by all writes. What another session was shown by a replica, a
strong read does not promise to show: nobody can know of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from shardwise import Shardwise
from tests.histories.clients import Caller, Client, Row, new_rows
from tests.histories.exports import save
from tests.histories.operations import History, Level
from tests.histories.planted import PLANTED
from tests.histories.recorder import Recorder
from tests.histories.scans import Violation, scan
from tests.histories.servers import Servers, running

WRITERS, READERS = 2, 4
BEHIND_MS = 20
WATCH_SECONDS = 0.25


@dataclass
class Probed:
    """`pairs`: reads of a replica, each followed by one of the primary."""

    history: History
    pairs: int
    violations: Sequence[Violation]

    def __str__(self) -> str:
        found = [f"{self.pairs} pairs of reads, {len(self.violations)} violations", *map(str, self.violations[:3])]
        return "\n".join(found)


@asynccontextmanager
async def primary_behind(servers: Servers, shard: str, milliseconds: int = BEHIND_MS) -> AsyncIterator[None]:
    """Inside the block the shard's first replica shows each commit so long before its primary does."""
    first, last = servers.record.replicas_of(shard)
    await servers.set(last, recovery_min_apply_delay=f"{milliseconds}ms")
    names = f'2 ("{first}", "{last}")'
    await servers.set(shard, synchronous_standby_names=names, synchronous_commit="remote_apply")
    try:
        yield
    finally:
        await servers.set(shard, synchronous_standby_names=None, synchronous_commit=None)
        await servers.set(last, recovery_min_apply_delay=None)


async def probe(servers: Servers, seconds: float, enough: int | None = None, prefix: str = "HOT") -> Probed:
    """For so long, or until there are `enough` violations. On servers that nobody kills or freezes."""
    recorder = Recorder()
    over = asyncio.Event()
    pairs = itertools.count()
    async with await Shardwise.connect(settings=servers.settings) as app:
        [row] = await new_rows(app, recorder, prefix, 1)
        await servers.caught_up_with(row.shard)

        async def write(client: Client) -> None:
            while not over.is_set():
                await client.write(row)

        async def read(client: Client) -> None:
            while not over.is_set():
                if await client.read(row, Level.MONOTONIC) and await client.read(row, Level.STRONG):
                    next(pairs)

        async def watch() -> None:
            ends = time.monotonic() + seconds
            while not over.is_set():
                await asyncio.sleep(WATCH_SECONDS)
                is_enough = enough is not None and len(_violations(recorder.history())) >= enough
                if is_enough or time.monotonic() >= ends:
                    over.set()

        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(write(_client(f"writer-{number}", app, recorder, row)))
            for number in range(READERS):
                group.create_task(read(_client(f"reader-{number}", app, recorder, row)))
            group.create_task(watch())
    history = recorder.history()
    return Probed(history, next(pairs), _violations(history))


def _violations(history: History) -> list[Violation]:
    """Of each reader on its own."""
    found = []
    for session in sorted({each.session for each in history.operations if not each.is_write}):
        theirs = [each for each in history.operations if each.is_write or each.session == session]
        found += scan(replace(history, operations=theirs))
    return found


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--planted", choices=sorted(PLANTED))
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    planted = PLANTED[chosen.planted]() if chosen.planted else contextlib.nullcontext()
    with tempfile.TemporaryDirectory(prefix="shardwise-probe-") as folder:
        Path(folder).chmod(0o711)
        async with running(Path(folder) / "stack", shards=1, replicas=2, workers=0) as servers:
            [shard] = servers.shards
            how = contextlib.nullcontext() if chosen.plain else primary_behind(servers, shard)
            async with how:
                with planted:
                    probed = await probe(servers, chosen.seconds)
    if chosen.out:
        await asyncio.to_thread(save, probed.history, chosen.out)
    print(probed)
    return 1 if probed.violations else 0


def _client(name: str, app: Shardwise, recorder: Recorder, row: Row) -> Client:
    return Client(name, Caller(name), app, recorder, [row])


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
