"""What is done to the servers of a run while clients are at work, drawn from its seed: kills and freezes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from tests.histories.servers import Servers

# How often in proportion to the others. What is killed is started again after the freezes of the same strike have
# ended.
WEIGHTS = {
    "kill replica": 3,
    "kill primary": 3,
    "freeze replica": 3,
    "freeze primary": 3,
    "kill worker": 1,
    "freeze worker": 1,
    "kill primary, freeze replica": 2,
    "kill replica, freeze primary": 1,
    "freeze primary, freeze worker": 1,
    "kill all replicas": 1,
}
PAUSE_SECONDS = (0.2, 2.0)
# Mostly shorter than a statement's time limit, so that what was frozen goes on with what its clients still wait for;
# now and then longer.
DOWN_SECONDS = (0.1, 2.0)
LONG_SECONDS, LONG_SHARE = 6.0, 0.1


@dataclass(frozen=True)
class Strike:
    """`chance` from 0 to 1: which of the shards, and which of its replicas."""

    kind: str
    pause_seconds: float
    down_seconds: float
    chance: float


def strikes(
    seed: str,
    kinds: Mapping[str, int] = WEIGHTS,
    pause_seconds: tuple[float, float] = PAUSE_SECONDS,
    down_seconds: tuple[float, float] = DOWN_SECONDS,
    long_share: float = LONG_SHARE,
) -> Iterator[Strike]:
    """Without end; the first ones are one of each kind."""
    draws = random.Random(f"{seed}-strikes")
    each_kind = list(kinds)
    draws.shuffle(each_kind)
    while True:
        kind = each_kind.pop() if each_kind else draws.choices(list(kinds), list(kinds.values()))[0]
        down = LONG_SECONDS if draws.random() < long_share else draws.uniform(*down_seconds)
        yield Strike(kind, draws.uniform(*pause_seconds), down, draws.random())


class Striking:
    """`done`: how often each part of each kind of strike was carried out."""

    def __init__(self, servers: Servers) -> None:
        self.done: Counter[str] = Counter()
        self.count = 0
        self._servers = servers

    async def until(self, over: asyncio.Event, drawn: Iterable[Strike]) -> None:
        """One after the other; ends between two of them, with all healed."""
        for strike in drawn:
            if over.is_set():
                return
            await self.carry_out(strike)
            self.count += 1

    async def carry_out(self, strike: Strike) -> None:
        """And heals what was struck."""
        await asyncio.sleep(strike.pause_seconds)
        with ExitStack() as thawing:
            for what in strike.kind.split(", "):
                verb, _, of_what = what.partition(" ")
                for part in self._parts(of_what, strike):
                    if verb == "kill":
                        self._servers.kill(part)
                    else:
                        thawing.enter_context(self._servers.frozen(part))
                    self.done[f"{verb} {of_what}"] += 1
            await asyncio.sleep(strike.down_seconds)
        if "kill" in strike.kind:
            await self._servers.up()

    def _parts(self, of_what: str, strike: Strike) -> Sequence[str]:
        record = self._servers.record
        shard = _one_of(record.shards, strike.chance)
        match of_what:
            case "primary":
                return [shard]
            case "replica":
                # Not always of the same number as the shard.
                return [_one_of(record.replicas_of(shard), strike.chance * len(record.shards) % 1)]
            case "all replicas":
                return list(record.replica_servers)
            case "worker":
                return record.worker_names[:1]
        raise ValueError(f"no such part: {of_what}")


def _one_of(names: Sequence[str], chance: float) -> str:
    return names[int(chance * len(names))]
