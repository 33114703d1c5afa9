"""The histories that a shard has had: what of the one before is still true in the one now.

A shard that is restored from an older copy of its files, or promoted without its last transactions, hands the same
positions and transaction ids out again. Compared as numbers they lie, so each belongs to a *fork*, and each shard keeps
the row of every fork it has had, with the position where it began. What lies at or below that beginning happened in
both; what lies above it in the fork before happened in that one only, and is lost.

Every start of a primary begins a fork (`shards.connections.forks`), since from inside a restored server looks like one
that was only started again. Where it was, nothing lies above the beginning, and everything carries over.

    fork A ───────────────┬──── lost
                          └──── fork B ──────────▶   began at the ┬
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

# A random id as Postgres and Python print it: text that is short enough for a token as sixteen bytes.
FORK_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.ASCII)
UNKNOWN_FORK = ""


@dataclass(frozen=True, slots=True)
class Fork:
    """`began`: all of the fork before it is true here up to this position."""

    id: str
    began: int = 0

    def __post_init__(self) -> None:
        if FORK_ID.fullmatch(self.id) is None:
            raise ValueError(f"not the id of a fork: {self.id!a}")


class Standing(StrEnum):
    """What a server's history says of something that happened in a fork.

    `HERE`: it happened in this server's history too, or will. `LOST`: it did not, and never will. `ELSEWHERE`: it
    happened in a fork that this server does not know: a replica may still learn of it, a primary never will.
    """

    HERE = "here"
    LOST = "lost"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True, slots=True)
class Lineage:
    """The forks of one server's history, the oldest first; the last one is the one it writes."""

    forks: Sequence[Fork]

    def __post_init__(self) -> None:
        if not self.forks or len({fork.id for fork in self.forks}) != len(self.forks):
            raise ValueError("a history has at least one fork, and none twice")

    @property
    def current(self) -> str:
        return self.forks[-1].id

    def standing(self, fork: str, lsn: int) -> Standing:
        """Of what lies below `lsn` in `fork`.

        An `UNKNOWN_FORK` is taken for this one: there is nothing to compare.
        """
        if fork in (UNKNOWN_FORK, self.current):
            return Standing.HERE
        ids = [each.id for each in self.forks]
        if fork not in ids:
            return Standing.ELSEWHERE
        later = self.forks[ids.index(fork) + 1 :]
        return Standing.HERE if lsn <= min(each.began for each in later) else Standing.LOST
