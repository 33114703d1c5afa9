"""What a run has measured: `docs/consistency.json`, from which the tables and the picture are made."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from pydantic import BaseModel

from contrast.documents import Machine
from domain.balancing import Balancing

BY_REPLICAS_MIN = {0: 0.9, 10: 0.5}
"""By replay delay in milliseconds: the least share of the reads at `read-your-writes` that replicas must answer."""
OFF_BY_MAX = 0.03
"""How far a server may be from its share of the reads, as a part of that share. With least connections a slow one must
have less than half of an equal share."""


class Variant(StrEnum):
    """The four levels, and what many systems do instead of the second."""

    EVENTUAL = "eventual"
    READ_YOUR_WRITES = "read-your-writes"
    MONOTONIC = "monotonic"
    STRONG = "strong"
    CACHE = "session cache"


class Cell(BaseModel):
    """One variant at one replay delay. Shares are of all reads, times in milliseconds.

    `stale`: answers that lacked a write of that row which had been acknowledged to anybody when the read began;
    `behind`: for how long it had been, and `versions_behind_max` how many of them were lacking.
    `own_missing`: answers without a write that had been acknowledged to this user. `went_back`: answers older than what
    this user had been shown. `hidden`: answers out of the session cache although another user's newer write had been
    acknowledged.
    """

    delay_ms: int
    variant: Variant
    reads: int
    writes: int
    p50_ms: float
    p99_ms: float
    write_p50_ms: float
    by_replicas: float
    by_cache: float
    waited: float
    stale: float
    behind_p50_ms: float
    behind_max_ms: float
    versions_behind_max: int
    own_missing: int
    went_back: int
    hidden: int


class Share(BaseModel):
    """`expected`: None where nobody knows beforehand."""

    server: str
    weight: int
    reads: int
    share: float
    expected: float | None


class Spread(BaseModel):
    """`what`: for a person. `slowed`: the server whose answers were held back."""

    what: str
    balancing: Balancing
    reads: int
    slowed: str | None
    shares: list[Share]

    @property
    def slow_share(self) -> float:
        return next(each.share for each in self.shares if each.server == self.slowed)


class Orders(BaseModel):
    """Per second, round by round, and the ratio of each pair of rounds."""

    orders: int
    replicas: int
    with_replicas: list[float]
    without: list[float]

    @property
    def ratios(self) -> list[float]:
        return sorted(a / b for a, b in zip(self.with_replicas, self.without, strict=True))


class ReadsDocument(BaseModel):
    """`mix`: what users did, for a person. `spread_exact`: many reads of one process; `spread_of_processes`: a process
    for each read."""

    machine: Machine
    shards: int
    replicas: int
    mix: str
    cache_seconds: float
    cells: list[Cell]
    spread_exact: list[Spread] = []
    spread_of_processes: list[Spread] = []
    orders: Orders | None = None

    @property
    def delays(self) -> list[int]:
        return sorted({each.delay_ms for each in self.cells})

    def cell(self, delay_ms: int, variant: Variant) -> Cell:
        return next(each for each in self.cells if (each.delay_ms, each.variant) == (delay_ms, variant))

    def broken(self) -> Iterator[str]:
        """What was promised and did not hold, for a person."""
        for delay, least in BY_REPLICAS_MIN.items():
            for cell in self.cells:
                if (cell.variant, cell.delay_ms) == (Variant.READ_YOUR_WRITES, delay) and cell.by_replicas < least:
                    yield f"read-your-writes at {delay} ms: {cell.by_replicas:.1%} by replicas, at least {least:.0%}"
        for cell in self.cells:
            where = f"{cell.variant} at {cell.delay_ms} ms"
            if cell.variant is Variant.READ_YOUR_WRITES and cell.own_missing:
                yield f"{where}: {cell.own_missing} answers without a write of the same session"
            if cell.variant is Variant.MONOTONIC and cell.went_back:
                yield f"{where}: {cell.went_back} answers older than one before"
            if cell.variant is Variant.STRONG and cell.stale:
                yield f"{where}: {cell.stale:.2%} of the answers are stale"
        for spread in self.spread_exact:
            if spread.slowed is not None:
                if spread.balancing is Balancing.LEAST_CONNECTIONS and spread.slow_share > 0.5 / len(spread.shares):
                    yield f"{spread.what}: the slow one has {spread.slow_share:.1%}"
                continue
            for each in spread.shares:
                if each.expected is not None and abs(each.share - each.expected) > OFF_BY_MAX * each.expected:
                    yield f"{spread.what}: {each.server} has {each.share:.1%}, expected {each.expected:.1%}"
