"""The replicas of one shard as this process sees them: which are fit, and whose turn it is."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from domain.balancing import Balancer, Balancing, Candidate
from domain.errors import ShardwiseError
from domain.replica_fitness import FitReplicas
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.replica import Replica
from shards.reading.facts import look_at_replica

T = TypeVar("T")

log = logging.getLogger("shardwise.reading")

# One that is frozen takes a connection, and says nothing.
ANSWER_SECONDS = 0.5
# How often those that were taken out are looked at again, while there are reads.
LOOK_SECONDS = 0.5
# Of a shard's replicas: as many connections are opened further after nobody waits for them any more.
LATE_MAX = 4


class Fleet:
    """A read is a look too: `looked` counts what each read found. Those that are out are looked at in the background,
    so that no read waits for them."""

    def __init__(self, replicas: Collection[Replica], balancing: Balancing, lag_bytes_max: int) -> None:
        self.lag_bytes_max = lag_bytes_max
        self._replicas = {replica.name: replica for replica in replicas}
        # Each command is a process: begun alike in all of them, every read would go to the same replica.
        self._balancer = Balancer(balancing, random.randrange(2**32))
        self._fit = FitReplicas()
        self._known: set[str] = set()
        self._looks: set[asyncio.Task[None]] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._looked_at = 0.0

    def candidates(self, tried: Collection[str] = ()) -> list[Candidate]:
        """Those that are fit, as far as is known: a replica that was never looked at is one, and the read looks."""
        usable = (each for each in self._replicas.values() if each.name not in tried)
        return [Candidate(each.name, each.weight) for each in usable if self._is_in(each.name)]

    def left_out(self) -> list[Replica]:
        return [each for each in self._replicas.values() if not self._is_in(each.name)]

    @contextmanager
    def lease(self, candidates: list[Candidate]) -> Iterator[Replica]:
        """The one whose turn it is, counted as in use until the block ends."""
        with self._balancer.lease(candidates) as chosen:
            yield self._replicas[chosen.name]

    def looked(self, name: str, is_well: bool) -> None:
        was_in = self._is_in(name)
        is_in = self._fit.looked(name, is_well)
        if name in self._known and was_in != is_in:
            log.info("%s is %s", name, "let back in" if is_in else "left out of reads")
        self._known.add(name)

    def look_at_left_out(self) -> None:
        """Begins to look at those that are out, unless that was a moment ago. Returns at once."""
        now = time.monotonic()
        out = self.left_out()
        if not out or self._looks or now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        for replica in out:
            look = asyncio.get_running_loop().create_task(self._look(replica))
            self._looks.add(look)
            look.add_done_callback(self._looks.discard)

    async def in_time(self, work: Coroutine[Any, Any, T], seconds: float, unused: Callable[[T], Awaitable[None]]) -> T:
        """`work`'s result, or TimeoutError after `seconds`.

        It may then go on, and `unused` gets what becomes of it: to a replica that is far away, or at a process's busy
        start, a connection takes longer to open than a read waits for an answer. Given up each time, none would ever
        be there.
        """
        task = asyncio.ensure_future(work)
        try:
            finished, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            self._go_on(task, unused)
            raise
        if finished:
            return task.result()
        self._go_on(task, unused)
        raise TimeoutError

    async def close(self) -> None:
        tasks = [*self._looks, *self._late]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _go_on(self, task: asyncio.Task[T], unused: Callable[[T], Awaitable[None]]) -> None:
        async def end() -> None:
            with suppress(ShardwiseError, TimeoutError, *DATABASE_ERRORS):
                await unused(await task)

        if len(self._late) >= LATE_MAX:
            task.cancel()
        late = asyncio.get_running_loop().create_task(end())
        self._late.add(late)
        late.add_done_callback(self._late.discard)

    def _is_in(self, name: str) -> bool:
        return name not in self._known or self._fit.is_in(name)

    async def _look(self, replica: Replica) -> None:
        is_well = False
        with suppress(ShardwiseError, TimeoutError, *DATABASE_ERRORS):
            is_well = await self.in_time(self._is_well(replica), ANSWER_SECONDS, _ignore)
        self.looked(replica.name, is_well)

    async def _is_well(self, replica: Replica) -> bool:
        async with replica.database.autocommit() as connection:
            return (await look_at_replica(connection, (), self.lag_bytes_max)).left_out is None


async def _ignore(_: object) -> None:
    pass
