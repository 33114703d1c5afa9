"""Kills parts of a running stack at random moments and has `up` bring them back.

The seed decides what is killed, in which order, how long after the last recovery and for how long; the orders decide
what was going on at that moment.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.command import Shardwise
from tests.support.freezing import frozen

PAUSE_SECONDS = (0.0, 6.0)
DOWN_SECONDS = (0.0, 3.0)

# What can happen, and how often in proportion to the others; "x and y" kills one of each at the same time.
WEIGHTS = {"worker": 5, "shard": 4, "temporal": 2, "catalog": 1, "everything": 2, "frozen shard": 1}


@dataclass(frozen=True)
class Strike:
    """`victim` from 0 to 1: which of the parts of its kind, however many there are."""

    kind: str
    pause_seconds: float
    victim: float
    down_seconds: float


def strikes(
    seed: str,
    freeze_seconds: float,
    weights: Mapping[str, int] = WEIGHTS,
    pause_seconds: tuple[float, float] = PAUSE_SECONDS,
) -> Iterator[Strike]:
    """Without end; the first ones are one of each kind. All numbers are drawn here, so that a plan depends on its seed
    alone and not on how its strikes went."""
    chance = random.Random(f"{seed}-kills")
    each_kind = list(weights)
    chance.shuffle(each_kind)
    while True:
        kind = each_kind.pop() if each_kind else chance.choices(list(weights), list(weights.values()))[0]
        pause, victim, down = chance.uniform(*pause_seconds), chance.random(), chance.uniform(*DOWN_SECONDS)
        yield Strike(kind, pause, victim, freeze_seconds if kind == "frozen shard" else down)


class Chaos:
    def __init__(self, shardwise: Shardwise) -> None:
        self.kills: Counter[str] = Counter()
        self._shardwise = shardwise

    def carry_out(self, strike: Strike) -> None:
        """Waits, kills or freezes, and recovers by `up`."""
        time.sleep(strike.pause_seconds)
        parts = self._parts()
        if strike.kind == "frozen shard":
            with frozen(_one_of(parts["shard"], strike)):
                time.sleep(strike.down_seconds)
        else:
            everything = [pid for pids in parts.values() for pid in pids]
            kinds = strike.kind.split(" and ")
            victims = everything if kinds == ["everything"] else [_one_of(parts[kind], strike) for kind in kinds]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(strike.down_seconds)
        up = self._shardwise("up", "--detach")
        assert up.exit_code == 0, f"up after {strike}: {up.stdout}{up.stderr}"
        self.kills[strike.kind] += 1

    def _parts(self) -> dict[str, list[int]]:
        status = self._shardwise.inside("status").document
        return {
            "worker": _pids(status["workers"]),
            "shard": _pids(status["shards"]),
            "temporal": _pids([status["temporal"]]),
            "catalog": _pids([status["catalog"]]),
        }


def _pids(parts: list[dict[str, Any]]) -> list[int]:
    return [part["pid"] for part in parts if part["pid"] is not None]


def _one_of(pids: list[int], strike: Strike) -> int:
    return pids[int(strike.victim * len(pids))]
