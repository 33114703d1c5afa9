"""Kills parts of a running stack at random moments and has `up` bring them back.

The seed decides what is killed, in which order and for how long; the orders decide what was going on at that moment.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil  # type: ignore[import-untyped]

from tests.support.command import Shardwise

FREEZE_SECONDS = 20.0
PAUSE_SECONDS = (1.0, 6.0)
DOWN_SECONDS = (0.0, 3.0)

# What can happen, and how often in proportion to the others.
WEIGHTS = {"worker": 5, "shard": 4, "temporal": 2, "catalog": 1, "everything": 2, "frozen shard": 1}


@dataclass
class Chaos:
    shardwise: Shardwise
    random: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    def strike(self) -> str:
        """One kill (or freeze) and the recovery from it; what it was."""
        what = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        parts = self._parts()
        if what == "frozen shard":
            with _frozen(parts["shard"][self.random.randrange(len(parts["shard"]))]):
                time.sleep(FREEZE_SECONDS)
        else:
            victims = [pid for pids in parts.values() for pid in pids]
            if what != "everything":
                victims = [self.random.choice(parts[what])]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(self.random.uniform(*DOWN_SECONDS))
        up = self.shardwise("up", "--detach")
        assert up.exit_code == 0, f"up after {what}: {up.stdout}{up.stderr}"
        self.kills[what] += 1
        return what

    def pause(self) -> None:
        time.sleep(self.random.uniform(*PAUSE_SECONDS))

    def _parts(self) -> dict[str, list[int]]:
        status = self.shardwise("status").document
        return {
            "worker": _pids(status["workers"]),
            "shard": _pids(status["shards"]),
            "temporal": _pids([status["temporal"]]),
            "catalog": _pids([status["catalog"]]),
        }


def _pids(parts: list[dict[str, Any]]) -> list[int]:
    return [part["pid"] for part in parts if part["pid"] is not None]


@contextlib.contextmanager
def _frozen(postmaster: int) -> Iterator[None]:
    """The server and all its backends stopped, as on a disk that does not answer: connections stay open and hang."""
    family = [psutil.Process(postmaster), *psutil.Process(postmaster).children(recursive=True)]
    try:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.suspend()
        yield
    finally:
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()
