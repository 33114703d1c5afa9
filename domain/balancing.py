"""Which of several servers takes the next read: the field's three balancers, over candidates that change from call to
call, since only those count that are fit and at the read's point.

| balancer | the next read goes |
| --- | --- |
| round robin | to each in turn |
| weighted | to each by its weight, spread evenly: 5, 1, 1 gives a a b a c a a, as nginx does |
| least connections | where the fewest reads of this process are at work for its weight; among equals, weighted |

One balancer serves all reads of one process. Each method is one step for asyncio: nothing comes between a choice and
its count. Threads need a lock of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

from domain.replicas import WEIGHT_MAX

# One turn in whole numbers, so that nothing is rounded away over the years: divided by any sum of weights up to 40 it
# leaves no rest, and by a larger one hardly any.
_TURN = math.lcm(*range(1, 41))


class Balancing(StrEnum):
    ROUND_ROBIN = "round-robin"
    LEAST_CONNECTIONS = "least-connections"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server that could take the read. `name` is what the balancer remembers it by."""

    name: str
    weight: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.weight <= WEIGHT_MAX:
            raise ValueError(f"expected a weight from 1 to {WEIGHT_MAX}, got {self.weight}")


def fair_shares(balancing: Balancing, weights: Mapping[str, int]) -> Mapping[str, float] | None:
    """By name what each gets of many reads, where all are there all the time. None for least connections, where it is
    a matter of who is slow."""
    if balancing is Balancing.LEAST_CONNECTIONS:
        return None
    counted = {name: weight if balancing is Balancing.WEIGHTED else 1 for name, weight in weights.items()}
    return {name: weight / sum(counted.values()) for name, weight in counted.items()}


class _FairTurns:
    """Smooth weighted round robin: at every call each candidate earns its share of one turn, and the one that has
    most takes it.

    What is earned and not taken yet stays with a candidate that is away for a while, and nothing is earned meanwhile.
    So each gets its share of the calls at which it was there, never off by more than a few turns, and no burst follows
    when it comes back.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._earned: dict[str, int] = {}
        self._turn = 0
        self._last_turn: dict[str, int] = {}

    def next(self, candidates: Sequence[Candidate]) -> Candidate:
        # Each command is a process, whose first turn is most often its only one: begun alike in all of them, every read
        # would go to the same server.
        begins = not any(candidate.name in self._last_turn for candidate in candidates)
        weights = sum(candidate.weight for candidate in candidates)
        given = 0
        for candidate in candidates:
            share = candidate.weight * _TURN // weights
            self._earned[candidate.name] = self._earned.get(candidate.name, 0) + share
            given += share
        chosen = _by_weight(candidates, self._start % weights) if begins else max(candidates, key=self._priority)
        self._earned[chosen.name] -= given
        self._turn += 1
        self._last_turn[chosen.name] = self._turn
        return chosen

    def _priority(self, candidate: Candidate) -> tuple[int, int]:
        """Among equals the one whose last turn is longest ago."""
        return self._earned[candidate.name], -self._last_turn.get(candidate.name, 0)


class Balancer:
    """`start` is any whole number: random in every process, so that their first choices spread by weight."""

    def __init__(self, balancing: Balancing, start: int) -> None:
        self._balancing = balancing
        self._turns = _FairTurns(start)
        self._in_use: Counter[str] = Counter()

    def in_use(self, name: str) -> int:
        """Reads of this process that are at work there."""
        return self._in_use[name]

    @contextmanager
    def lease(self, candidates: Sequence[Candidate]) -> Iterator[Candidate]:
        """The one that takes the read, counted as in use until the block ends, however it ends.

        Candidates that were tried for this read and did not do are left out of the next call. ValueError without any.
        """
        chosen = self._choose(candidates)
        self._in_use[chosen.name] += 1
        try:
            yield chosen
        finally:
            self._in_use[chosen.name] -= 1

    def _choose(self, candidates: Sequence[Candidate]) -> Candidate:
        if not candidates:
            raise ValueError("nothing to choose from")
        match self._balancing:
            case Balancing.ROUND_ROBIN:
                names = [candidate.name for candidate in candidates]
                return candidates[names.index(self._turns.next([Candidate(name) for name in names]).name)]
            case Balancing.WEIGHTED:
                return self._turns.next(candidates)
            case Balancing.LEAST_CONNECTIONS:
                least = min(self._load(candidate) for candidate in candidates)
                return self._turns.next([each for each in candidates if self._load(each) == least])

    def _load(self, candidate: Candidate) -> float:
        return self._in_use[candidate.name] / candidate.weight


def _by_weight(candidates: Sequence[Candidate], number: int) -> Candidate:
    """The one that a number below the sum of weights falls on."""
    for candidate in candidates:
        if number < candidate.weight:
            return candidate
        number -= candidate.weight
    raise ValueError("the number is not below the sum of the weights")
