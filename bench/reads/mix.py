"""What users do: each has two devices with one session, and now and then renames a product that others read too."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.reads.documents import Cell, Variant
from domain.percentiles import percentile
from shardwise import Level, Session, Shardwise
from shardwise.reading import recording

USERS = 4
DEVICES = 2
PRODUCTS = 16
WRITES = 0.1
OF_OWN = 0.25
PAUSE_SECONDS = (0.01, 0.05)
CACHE_SECONDS = 2.0

MIX = (
    f"{USERS} users with {DEVICES} devices each, which share the user's session; {WRITES:.0%} of the requests rename "
    f"one of {PRODUCTS} products, the others read one: {OF_OWN:.0%} of them the one that the user renamed last, the "
    f"rest any; between two requests of a device {PAUSE_SECONDS[0] * 1000:.0f} to {PAUSE_SECONDS[1] * 1000:.0f} ms pass"
)
WITH_SESSION = {Variant.READ_YOUR_WRITES: Level.READ_YOUR_WRITES, Variant.MONOTONIC: Level.MONOTONIC}
WITHOUT_SESSION = {Variant.EVENTUAL: Level.EVENTUAL, Variant.CACHE: Level.EVENTUAL, Variant.STRONG: Level.STRONG}


class Ledger:
    """When each version of each product was acknowledged, to whomever."""

    def __init__(self) -> None:
        self._acknowledged: dict[str, dict[int, float]] = defaultdict(dict)
        self._newest: dict[str, int] = defaultdict(int)

    def acknowledged(self, sku: str, version: int) -> None:
        self._acknowledged[sku][version] = time.monotonic()
        self._newest[sku] = max(self._newest[sku], version)

    def newest(self, sku: str) -> int:
        return self._newest[sku]

    def lacking(self, sku: str, version: int, newest: int, at: float) -> float:
        """Seconds that an answer was behind which was begun at that time: since the first write that it lacks was
        acknowledged."""
        of_sku = self._acknowledged[sku]
        return max(at - of_sku[each] for each in range(version + 1, newest + 1) if of_sku.get(each, at) <= at)


@dataclass(slots=True)
class User:
    """`token` as a browser keeps it: every request begins with it, and leaves it raised."""

    token: str = field(default_factory=lambda: Session().token)
    wrote: dict[str, int] = field(default_factory=dict)
    shown: dict[str, int] = field(default_factory=dict)
    last_written: str | None = None

    def raise_to(self, token: str) -> None:
        session = Session(self.token)
        session.merge(token)
        self.token = session.token


@dataclass(slots=True)
class Counts:
    """Of one cell, over all rounds. Seconds."""

    reads: list[float] = field(default_factory=list)
    writes: list[float] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    versions_behind: int = 0
    by_replicas: int = 0
    by_cache: int = 0
    waited: int = 0
    own_missing: int = 0
    went_back: int = 0
    hidden: int = 0

    def cell(self, delay_ms: int, variant: Variant) -> Cell:
        count = len(self.reads)
        return Cell(
            delay_ms=delay_ms,
            variant=variant,
            reads=count,
            writes=len(self.writes),
            p50_ms=_ms(self.reads, 50),
            p99_ms=_ms(self.reads, 99),
            write_p50_ms=_ms(self.writes, 50),
            by_replicas=round(self.by_replicas / count, 4),
            by_cache=round(self.by_cache / count, 4),
            waited=round(self.waited / count, 4),
            stale=round(len(self.behind) / count, 4),
            behind_p50_ms=_ms(self.behind, 50),
            behind_max_ms=_ms(self.behind, 100),
            versions_behind_max=self.versions_behind,
            own_missing=self.own_missing,
            went_back=self.went_back,
            hidden=self.hidden,
        )


def _ms(seconds: Sequence[float], percent: float) -> float:
    return round(percentile(seconds, percent) * 1000, 2) if seconds else 0.0


class Mix:
    """All devices at once, for a while. The same seed makes the same choices, whatever the variant."""

    def __init__(self, app: Shardwise, skus: Sequence[str], ledger: Ledger) -> None:
        self._app = app
        self._skus = skus
        self._ledger = ledger
        self._names = 0

    async def run(self, variant: Variant, seconds: float, seed: str, counts: Counts) -> None:
        until = time.monotonic() + seconds
        devices = [
            Device(self, variant, user, random.Random(f"{seed} {number} {device}"), counts)
            for number, user in enumerate(User() for _ in range(USERS))
            for device in range(DEVICES)
        ]
        await asyncio.gather(*(device.run(until) for device in devices))

    @property
    def app(self) -> Shardwise:
        return self._app

    @property
    def skus(self) -> Sequence[str]:
        return self._skus

    @property
    def ledger(self) -> Ledger:
        return self._ledger

    def new_name(self) -> str:
        self._names += 1
        return f"Name {self._names}"


class Device:
    def __init__(self, mix: Mix, variant: Variant, user: User, chance: random.Random, counts: Counts) -> None:
        self._mix = mix
        self._variant = variant
        self._user = user
        self._chance = chance
        self._counts = counts
        # What this device wrote: version, and until when it is used.
        self._cache: dict[str, tuple[int, float]] = {}

    async def run(self, until: float) -> None:
        while time.monotonic() < until:
            await asyncio.sleep(self._chance.uniform(*PAUSE_SECONDS))
            sku = self._chance.choice(self._mix.skus)
            is_write, is_own = self._chance.random() < WRITES, self._chance.random() < OF_OWN
            if is_write:
                await self._write(sku)
            else:
                await self._read((self._user.last_written or sku) if is_own else sku)

    async def _write(self, sku: str) -> None:
        started = time.monotonic()
        if self._variant in WITH_SESSION:
            session = Session(self._user.token)
            renamed = await self._mix.app.within(session).catalogue.rename_product(sku, self._mix.new_name())
            self._user.raise_to(session.token)
        else:
            renamed = await self._mix.app.catalogue.rename_product(sku, self._mix.new_name())
            self._cache[sku] = renamed.version, time.monotonic() + CACHE_SECONDS
        self._counts.writes.append(time.monotonic() - started)
        self._mix.ledger.acknowledged(sku, renamed.version)
        self._user.wrote[sku] = max(renamed.version, self._user.wrote.get(sku, 0))
        self._user.last_written = sku

    async def _read(self, sku: str) -> None:
        newest, own = self._mix.ledger.newest(sku), self._user.wrote.get(sku, 0)
        shown, started = self._user.shown.get(sku, 0), time.monotonic()
        cached, usable_until = self._cache.get(sku, (0, 0.0))
        is_cached = self._variant is Variant.CACHE and usable_until > started
        version = cached if is_cached else await self._ask(sku)
        counts = self._counts
        counts.reads.append(time.monotonic() - started)
        counts.by_cache += is_cached
        counts.own_missing += version < own
        counts.went_back += version < shown
        if version < newest:
            counts.behind.append(self._mix.ledger.lacking(sku, version, newest, started))
            counts.versions_behind = max(counts.versions_behind, newest - version)
            counts.hidden += is_cached and newest > own
        self._user.shown[sku] = max(version, self._user.shown.get(sku, 0))

    async def _ask(self, sku: str) -> int:
        with recording() as served:
            if self._variant in WITH_SESSION:
                session = Session(self._user.token)
                app, level = self._mix.app.within(session), WITH_SESSION[self._variant]
                version = (await app.catalogue.product(sku, level)).version
                self._user.raise_to(session.token)
            else:
                version = (await self._mix.app.catalogue.product(sku, WITHOUT_SESSION[self._variant])).version
        self._counts.by_replicas += "replica" in served[-1].server
        self._counts.waited += served[-1].waited_seconds > 0
        return version
