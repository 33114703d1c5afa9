"""The replicas of one shard as this process sees them: which are fit, and whose turn it is."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress

from domain.balancing import Balancer, Balancing, Candidate
from domain.errors import ShardwiseError
from domain.replica_fitness import FitReplicas
from shards.connections.database_errors import DATABASE_ERRORS
from shards.connections.replica import Replica
from shards.connections.waiting import within
from shards.reading.facts import look_at_replica

log = logging.getLogger("shardwise.reading")

# One that is frozen takes a connection, and says nothing.
ANSWER_SECONDS = 0.5
# How often those that were taken out are looked at again, while there are reads.
LOOK_SECONDS = 0.5


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

    def replica(self, name: str) -> Replica:
        return self._replicas[name]

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

    async def close(self) -> None:
        for look in list(self._looks):
            look.cancel()
        await asyncio.gather(*self._looks, return_exceptions=True)

    def _is_in(self, name: str) -> bool:
        return name not in self._known or self._fit.is_in(name)

    async def _look(self, replica: Replica) -> None:
        is_well = False
        with suppress(ShardwiseError, TimeoutError, *DATABASE_ERRORS):
            is_well = await within(self._is_well(replica), ANSWER_SECONDS)
        self.looked(replica.name, is_well)

    async def _is_well(self, replica: Replica) -> bool:
        async with replica.database.autocommit() as connection:
            return (await look_at_replica(connection, (), self.lag_bytes_max)).left_out is None
