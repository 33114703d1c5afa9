"""The load: the same transfers by each protocol, on the workers that are up, out of many accounts or all out of one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from contrast.accounts import CURRENCY, ContrastAccounts
from contrast.documents import PROTOCOLS, Cell, Place
from domain.errors import ShardwiseError, Unreachable
from domain.money import Money
from domain.percentiles import percentile
from domain.sagas import Reason
from domain.transfers import Protocol, Transfer, TransferStatus
from shardwise.temporal.calls import WorkflowFailed
from shardwise.transfers.sagas import TransferSagas
from workflows.interfaces import TransferResult

CENT = Money(1, CURRENCY)
# Far more than any protocol needs to settle or to decline.
WAIT_SECONDS = 120.0
WARM_UP_TRANSFERS_MAX = 16


@dataclass(frozen=True, slots=True)
class Load:
    """`transfers` in each cell and each round, at each of these numbers at once."""

    concurrencies: Sequence[int]
    transfers: int
    rounds: int = 1

    @property
    def accounts_per_shard(self) -> int:
        return 2 * max(self.concurrencies) + 1


class AccountPairs:
    """Which account pays which. The sources are the same on one shard and across shards; only the targets differ."""

    def __init__(self, accounts: ContrastAccounts, at_once: int) -> None:
        self._shards = accounts.shards
        self._sources = {shard: accounts.take(shard, at_once) for shard in self._shards}
        self._targets = {shard: accounts.take(shard, at_once) for shard in self._shards}
        [self._hot] = accounts.take(self._shards[0])
        self._at_once = at_once

    def of(self, protocol: Protocol, place: Place, number: int) -> tuple[str, str, str]:
        """Source, target and the source's shard of a cell's transfer `number`. Any `at_once` transfers in a row share
        no account, except the hot one."""
        shard_number = number % len(self._shards) if place is Place.SPREAD else 0
        account_number = number // (len(self._shards) if place is Place.SPREAD else 1) % self._at_once
        here = self._shards[shard_number]
        there = here if protocol is Protocol.LOCAL else self._shards[(shard_number + 1) % len(self._shards)]
        source = self._hot if place is Place.HOT else self._sources[here][account_number]
        return source, self._targets[there][account_number], here


@dataclass(frozen=True, slots=True)
class Batch:
    at_once: int
    transfers: int


@dataclass(slots=True)
class _Measured:
    """`taken`: seconds of each transfer, declined ones included."""

    ended: list[TransferResult] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: _Measured) -> None:
        self.ended += other.ended
        self.taken += other.taken
        self.seconds += other.seconds

    def cell(self, protocol: Protocol, place: Place, concurrency: int) -> Cell:
        settled = sum(result.status is TransferStatus.SETTLED for result in self.ended)
        reasons: Counter[Reason] = Counter(result.refusal.reason for result in self.ended if result.refusal)
        p50, p95, p99 = (round(percentile(self.taken, percent) * 1000, 1) for percent in (50, 95, 99))
        return Cell(
            protocol=protocol,
            place=place,
            concurrency=concurrency,
            transfers=len(self.ended),
            settled=settled,
            declined=dict(reasons),
            seconds=round(self.seconds, 3),
            per_second=round(settled / self.seconds, 2),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
        )


class Loader:
    def __init__(
        self, sagas: TransferSagas, accounts: ContrastAccounts, load: Load, on_progress: Callable[[str], None]
    ) -> None:
        self._sagas = sagas
        self._run_id = accounts.run_id
        self._pairs = AccountPairs(accounts, max(load.concurrencies))
        self._load = load
        self._on_progress = on_progress

    async def run(self) -> list[Cell]:
        """A warm-up, then every cell once in each round. The protocols take turns, so that a machine whose speed drifts
        slows all of them."""
        warm_up = Batch(self._load.concurrencies[-1], min(self._load.transfers, WARM_UP_TRANSFERS_MAX))
        for protocol in PROTOCOLS:
            await self._carry_out(protocol, Place.SPREAD, warm_up, "warm-up")
        cells = list(product(Place, self._load.concurrencies, PROTOCOLS))
        measured = {cell: _Measured() for cell in cells}
        for number, cell in product(range(self._load.rounds), cells):
            place, concurrency, protocol = cell
            name = f"{number}-{place.name.lower()}-{concurrency}"
            batch = await self._carry_out(protocol, place, Batch(concurrency, self._load.transfers), name)
            measured[cell].add(batch)
            so_far = measured[cell].cell(protocol, place, concurrency)
            self._on_progress(
                f"round {number + 1} of {self._load.rounds}: {place}, {concurrency} at once, {protocol}: "
                f"{so_far.per_second:.1f} transfers/s"
            )
        return [
            measured[place, concurrency, protocol].cell(protocol, place, concurrency)
            for place, concurrency, protocol in cells
        ]

    async def _carry_out(self, protocol: Protocol, place: Place, batch: Batch, name: str) -> _Measured:
        turns = asyncio.Semaphore(batch.at_once)
        measured = _Measured()

        async def one(number: int) -> None:
            source, target, shard = self._pairs.of(protocol, place, number)
            transfer_id = f"{self._run_id}-{name}-{protocol}-{number}"
            async with turns:
                began = time.perf_counter()
                result = await self._carried_out(Transfer(transfer_id, source, target, CENT), protocol, shard)
                measured.taken.append(time.perf_counter() - began)
            measured.ended.append(result)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(batch.transfers):
                group.create_task(one(number))
        measured.seconds = time.perf_counter() - began
        return measured

    async def _carried_out(self, transfer: Transfer, protocol: Protocol, shard: str) -> TransferResult:
        try:
            result = await self._sagas.carry_out(transfer, protocol.as_choice(), shard, WAIT_SECONDS)
        except WorkflowFailed as error:
            raise ShardwiseError("contrast_broke", f"the workflow of {transfer.saga_id} ended: {error}") from error
        if result is None:
            raise Unreachable("contrast_stalled", f"{transfer.saga_id} is not final after {WAIT_SECONDS:.0f} s")
        return result
