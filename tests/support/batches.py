"""Batches of transfers by hand: staged, carried out in the product's activities, read; and what must come of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.interfaces import BatchCounts, LineRange
from activities.transfer_batches import ShardedTransferBatchActivities
from domain.money import Money
from domain.transfer_batch import Round
from domain.transfers import Transfer
from shards.transfers.batch.outcomes import LineResult, LineStatus, read_outcomes
from shards.transfers.batch.staging import exclusive_staging
from tests.support.world import World

_numbers = itertools.count(1)


@dataclass
class BatchByHand:
    """`transfers` are the lines of its file, from line 2 on."""

    world: World
    transfers: Sequence[Transfer]
    batch_id: str = ""
    lines: Mapping[str, int] | None = None

    def __post_init__(self) -> None:
        self.batch_id = self.batch_id or f"batch-{next(_numbers)}"
        self.activities = ShardedTransferBatchActivities(self.world.router)

    async def stage(self) -> None:
        async with exclusive_staging(self.world.cluster, await self.world.router.map(), self.batch_id) as staging:
            found = await staging.found()
            if found is None:
                await staging.begin()
                for n, transfer in enumerate(self.transfers, start=2):
                    await staging.add(n, transfer)
                found = await staging.end()
        self.lines = found.lines

    async def carry_out(self, chunk_lines: int = 3) -> BatchCounts:
        """Both rounds, from whatever is done already."""
        if self.lines is None:
            await self.stage()
        counts = BatchCounts()
        for round_ in Round:
            counts += await self.round(round_, chunk_lines)
        return counts

    async def round(self, round_: Round, chunk_lines: int = 3) -> BatchCounts:
        assert self.lines is not None
        counts = BatchCounts()
        for shard in self.lines:
            range_ = LineRange(self.batch_id, shard, round_, 0, 1_000_000, chunk_lines)
            done = await ActivityEnvironment().run(self.activities.carry_out_lines, range_)
            assert done.last is None
            counts += done.counts
        return counts

    async def outcomes(self, finished: bool = True) -> list[tuple[LineStatus, str]]:
        """(status, reason) by line."""
        return [(each.status, each.reason) for each in await self.results(finished)]

    async def results(self, finished: bool = True) -> list[LineResult]:
        last = len(self.transfers) + 1
        shard_map = await self.world.router.map()
        pages = read_outcomes(self.world.cluster, shard_map, self.batch_id, last, finished)
        return [each async for _, page in pages for each in page]

    async def rows(self) -> list[tuple[Any, ...]]:
        """All rows of its transfers, so that two moments can be compared."""
        saga_ids = [transfer.saga_id for transfer in self.transfers]
        found: list[tuple[Any, ...]] = []
        for table, columns in (
            ("movement", "id, saga_id, kind"),
            ("clearing_leg", "saga_id, role, amount"),
            ("admission", "saga_id, state, reason"),
            ("outbox", "id, saga_id, kind"),
        ):
            found += await self.world.everywhere(
                f"SELECT {columns} FROM {table} WHERE saga_id = ANY(:ids) ORDER BY 1, 2", ids=saga_ids
            )
        ids = [transfer.transfer_id for transfer in self.transfers]
        found += await self.world.everywhere(
            "SELECT source, id, state, reason, version FROM transfer WHERE id = ANY(:ids) ORDER BY 1, 2", ids=ids
        )
        return found


def transfer(source: str, target: str, amount: str, transfer_id: str | None = None, currency: str = "USD") -> Transfer:
    return Transfer(transfer_id or f"T{next(_numbers)}", source, target, Money.parse(amount, currency))


def settled_by_the_rules(transfers: Iterable[Transfer], balances: Mapping[str, int]) -> list[bool]:
    """Which lines settle, by the rule of decision 11 and nothing cleverer. All accounts are open and in the
    transfers' currency."""
    lines = list(transfers)
    settled = [False] * len(lines)
    money = dict(balances)
    for _ in Round:
        spendable = dict(money)
        for n, line in enumerate(lines):
            if not settled[n] and line.amount.minor <= spendable[line.source]:
                settled[n] = True
                spendable[line.source] -= line.amount.minor
                money[line.source] -= line.amount.minor
                money[line.target] += line.amount.minor
    return settled
