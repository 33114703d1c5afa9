"""The load: the same transfers by each protocol, through the workers that are up, many or all out of one account."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cli.contrast.cast import CURRENCY, Cast
from cli.contrast.documents import PROTOCOLS, Cell, Place, percentile
from cli.saga_calls import SagaBroke
from cli.transfer_sagas import TransferSagas
from domain.errors import ShardwiseError, Unreachable
from domain.money import Money
from domain.sagas import Reason
from domain.transfers import Protocol, Transfer, TransferStatus
from workflows.transfer import TransferResult

CENT = Money(1, CURRENCY)
# Far more than any protocol needs to settle or to decline.
WAIT_SECONDS = 120.0
WARM_UP_TRANSFERS_MAX = 16


@dataclass(frozen=True, slots=True)
class Load:
    """`transfers` in each cell, at each of these numbers at once."""

    concurrencies: Sequence[int]
    transfers: int

    @property
    def accounts_per_shard(self) -> int:
        return 2 * max(self.concurrencies) + 1


class Lanes:
    """Who pays whom. On one shard and across shards the sources are the same; only the target lies elsewhere."""

    def __init__(self, cast: Cast, at_once: int) -> None:
        self._shards = cast.shards
        self._sources = {shard: cast.take(shard, at_once) for shard in self._shards}
        self._targets = {shard: cast.take(shard, at_once) for shard in self._shards}
        [self._hot] = cast.take(self._shards[0])
        self._at_once = at_once

    def of(self, protocol: Protocol, place: Place, number: int) -> tuple[str, str, str]:
        """Source, target and the source's shard of a cell's transfer `number`. Any `at_once` in a row share no account,
        but a hot one."""
        shard_number = number % len(self._shards) if place is Place.SPREAD else 0
        account_number = number // (len(self._shards) if place is Place.SPREAD else 1) % self._at_once
        here = self._shards[shard_number]
        there = here if protocol is Protocol.LOCAL else self._shards[(shard_number + 1) % len(self._shards)]
        source = self._hot if place is Place.HOT else self._sources[here][account_number]
        return source, self._targets[there][account_number], here


class Loader:
    def __init__(self, sagas: TransferSagas, cast: Cast, load: Load, say: Callable[[str], None]) -> None:
        self._sagas = sagas
        self._run_id = cast.run_id
        self._lanes = Lanes(cast, max(load.concurrencies))
        self._load = load
        self._say = say

    async def run(self) -> list[Cell]:
        """Protocols in turn within each cell, so that a machine whose speed drifts slows all three."""
        warm_up = min(self._load.transfers, WARM_UP_TRANSFERS_MAX)
        for protocol in PROTOCOLS:
            await self._cell(protocol, Place.SPREAD, max(self._load.concurrencies), warm_up, "warm-up")
        cells = []
        for place in Place:
            for concurrency in self._load.concurrencies:
                for protocol in PROTOCOLS:
                    name = f"{place.name.lower()}-{concurrency}"
                    cell = await self._cell(protocol, place, concurrency, self._load.transfers, name)
                    cells.append(cell)
                    self._say(f"{place}, {concurrency} at once, {protocol}: {cell.per_second:.1f} transfers/s")
        return cells

    async def _cell(self, protocol: Protocol, place: Place, concurrency: int, transfers: int, name: str) -> Cell:
        turns = asyncio.Semaphore(concurrency)
        taken: list[float] = []
        ended: list[TransferResult] = []

        async def one(number: int) -> None:
            source, target, shard = self._lanes.of(protocol, place, number)
            transfer_id = f"{self._run_id}-{name}-{protocol}-{number}"
            async with turns:
                began = time.perf_counter()
                result = await self._carried_out(Transfer(transfer_id, source, target, CENT), protocol, shard)
                taken.append(time.perf_counter() - began)
            ended.append(result)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(transfers):
                group.create_task(one(number))
        return _cell(protocol, place, concurrency, ended, taken, time.perf_counter() - began)

    async def _carried_out(self, transfer: Transfer, protocol: Protocol, shard: str) -> TransferResult:
        try:
            result = await self._sagas.carry_out(transfer, protocol.as_choice(), shard, WAIT_SECONDS)
        except SagaBroke as error:
            raise ShardwiseError("contrast_broke", f"the workflow of {transfer.saga_id} ended: {error}") from error
        if result is None:
            raise Unreachable("contrast_stalled", f"{transfer.saga_id} is not final after {WAIT_SECONDS:.0f} s")
        return result


def _cell(
    protocol: Protocol,
    place: Place,
    concurrency: int,
    ended: Sequence[TransferResult],
    taken: Sequence[float],
    seconds: float,
) -> Cell:
    settled = sum(result.status is TransferStatus.SETTLED for result in ended)
    reasons: Counter[Reason] = Counter(result.refusal.reason for result in ended if result.refusal is not None)
    p50, p95, p99 = (round(percentile(taken, percent) * 1000, 1) for percent in (50, 95, 99))
    return Cell(
        protocol=protocol,
        place=place,
        concurrency=concurrency,
        transfers=len(ended),
        settled=settled,
        declined=dict(reasons),
        seconds=round(seconds, 3),
        per_second=round(settled / seconds, 2),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
    )
