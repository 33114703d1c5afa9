"""Whether replicas are taken out and let back in: with hysteresis, so that one at the limit does not go in and out.

A look says whether a replica is well at this moment: it streams, and its lag is within the bound. That it answers says
nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

BAD_LOOKS = 3
GOOD_LOOKS = 2


@dataclass(frozen=True, slots=True)
class Fitness:
    """`against`: how many looks in a row contradicted it. At the bound it turns."""

    is_in: bool
    against: int = 0


def after_look(before: Fitness | None, is_well: bool, bad: int = BAD_LOOKS, good: int = GOOD_LOOKS) -> Fitness:
    """In: taken out after `bad` looks in a row that were not well. Out: let back in after `good` that were.

    The first look decides alone: a process that has just begun knows no better.
    """
    if before is None:
        return Fitness(is_well)
    if is_well == before.is_in:
        return Fitness(before.is_in)
    against = before.against + 1
    if against >= (bad if before.is_in else good):
        return Fitness(not before.is_in)
    return Fitness(before.is_in, against)


class FitReplicas:
    """The replicas of one installation as this process has seen them so far."""

    def __init__(self, bad: int = BAD_LOOKS, good: int = GOOD_LOOKS) -> None:
        if bad < 1 or good < 1:
            raise ValueError("at least one look takes a replica out or lets it in")
        self._bad = bad
        self._good = good
        self._seen: dict[str, Fitness] = {}

    def looked(self, name: str, is_well: bool) -> bool:
        """Whether the replica is in after this look."""
        after = after_look(self._seen.get(name), is_well, self._bad, self._good)
        self._seen[name] = after
        return after.is_in

    def is_in(self, name: str) -> bool:
        """Never looked at: out."""
        seen = self._seen.get(name)
        return seen is not None and seen.is_in

    def keep_only(self, names: Collection[str]) -> None:
        """Forgets all others: one that comes back under the same name, cloned anew, begins with its first look."""
        self._seen = {name: fitness for name, fitness in self._seen.items() if name in names}
