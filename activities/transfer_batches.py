"""Batches of transfers, over the shards. Contracts: `activities.interfaces.TransferBatchActivities`."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from temporalio import activity

from activities.effects import failures_translated, shard_of
from activities.interfaces import BatchCounts, LineRange, RangeDone, TransferBatchActivities
from domain.errors import StaleRoute
from domain.sagas import Refusal
from domain.shard_map import ShardMap
from domain.transfer_batch import Decisions, Line
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.routing.bulk_transaction import bulk_on
from shards.routing.router import Router
from shards.transfers.batch import admissions as batch_admissions
from shards.transfers.batch import staging
from shards.transfers.batch.deciding import BatchRound, decide_and_debit
from shards.transfers.batch.lines import Routes, read_chunk

T = TypeVar("T")

CHUNK_LINES_MIN = 250


class ShardedTransferBatchActivities(TransferBatchActivities):
    def __init__(self, router: Router) -> None:
        self._router = router
        self._routes: Routes | None = None

    @activity.defn
    @failures_translated
    async def carry_out_lines(self, range_: LineRange) -> RangeDone:
        range_ = _smaller_chunks_on_retry(range_)
        await self._assert_known(range_.shard)
        last, counts, seen = range_.after, BatchCounts(), 0
        # One chunk is delivered while the next is decided: the shards are different servers.
        delivering = asyncio.create_task(_nothing())
        try:
            while seen < range_.lines:
                chunk = await self._with_fresh_map(range_, partial(_ChunkWork.decide, after=last))
                await delivering
                activity.heartbeat()
                if chunk.last is None:
                    return RangeDone(None, counts)
                delivering = asyncio.create_task(self._with_fresh_map(range_, partial(_ChunkWork.deliver, chunk=chunk)))
                last, counts, seen = chunk.last, counts + chunk.counts, seen + range_.chunk_lines
            await delivering
            return RangeDone(last, counts)
        finally:
            await asyncio.gather(delivering, return_exceptions=True)

    @activity.defn
    @failures_translated
    async def finish_batch(self, batch_id: str) -> None:
        await staging.finish(self._router.cluster, batch_id)

    async def _assert_known(self, shard: str) -> None:
        """Fails for good if there is no such shard, which only the map knows."""
        await self._router.map()
        shard_of(self._router.cluster, shard)

    async def _with_fresh_map(self, range_: LineRange, step: Callable[[_ChunkWork], Awaitable[T]]) -> T:
        """Runs `step`; once more, by a fresh map, if our map was stale."""
        shard_map = await self._router.map()
        try:
            return await step(self._work(range_, shard_map))
        except StaleRoute:
            return await step(self._work(range_, await self._router.refreshed(than=shard_map.version)))

    def _work(self, range_: LineRange, shard_map: ShardMap) -> _ChunkWork:
        if self._routes is None or self._routes.version != shard_map.version:
            self._routes = Routes(shard_map)
        return _ChunkWork(self._router.cluster, self._routes, range_)


@dataclass(frozen=True, slots=True)
class _DecidedChunk:
    """`last` None: there was no further line."""

    last: int | None
    confirmed: list[Line]
    declined: list[Line]
    conflicts: list[Line]
    counts: BatchCounts


class _ChunkWork:
    """One chunk, routed by one version of the map. Each step is one transaction on the source's shard, or one on each
    target's."""

    def __init__(self, cluster: Cluster, routes: Routes, range_: LineRange) -> None:
        self._shards = cluster.shards
        self._routes = routes
        self._range = range_
        self._batch_round = BatchRound(range_.batch_id, range_.round_)

    async def decide(self, after: int) -> _DecidedChunk:
        """Reads the next lines, admits them on their targets and decides them. Lines that an earlier attempt decided
        stay as they are."""
        range_ = self._range
        async with bulk_on(self._shards[range_.shard]) as tx:
            chunk = await read_chunk(tx, range_.batch_id, range_.round_, after, range_.chunk_lines)
        activity.heartbeat()
        not_admitted = await self._admit(chunk.fresh)
        activity.heartbeat()
        decisions = await self._debit(chunk.fresh, not_admitted)
        activity.heartbeat()
        confirmed = [*chunk.confirmed, *(each.line for each in decisions.decided if each.refusal is None)]
        declined = [*chunk.declined, *(each.line for each in decisions.decided if each.refusal is not None)]
        begun_elsewhere = len(chunk.others) + len(chunk.conflicts)
        # The confirmed ones are settled once `deliver` has credited them, before the range is done.
        counts = BatchCounts(len(confirmed), len(declined), len(decisions.postponed), begun_elsewhere)
        return _DecidedChunk(chunk.last, confirmed, declined, chunk.conflicts, counts)

    async def deliver(self, chunk: _DecidedChunk) -> None:
        """Credits or withdraws what was admitted, on all shards in parallel."""
        to_credit, to_withdraw = self._by_other_shard(chunk.confirmed), self._by_other_shard(chunk.declined)
        to_forget = self._by_other_shard(chunk.conflicts)

        async def finish_on(shard: str) -> None:
            async with bulk_on(self._shards[shard]) as tx:
                if shard in to_credit:
                    await batch_admissions.credit(tx, self._batch_round, to_credit[shard], self._routes)
                if shard in to_withdraw:
                    await batch_admissions.withdraw(tx, to_withdraw[shard], self._routes)
                if shard in to_forget:
                    await batch_admissions.forget(tx, to_forget[shard], self._routes)

        await gather_all(finish_on(shard) for shard in {*to_credit, *to_withdraw, *to_forget})

    async def _admit(self, lines: Sequence[Line]) -> Mapping[int, Refusal]:
        async def admit(shard: str, of_shard: Sequence[Line]) -> dict[int, Refusal]:
            async with bulk_on(self._shards[shard]) as tx:
                return await batch_admissions.admit(tx, self._range.batch_id, of_shard, self._routes)

        refused = await gather_all(admit(shard, group) for shard, group in self._by_other_shard(lines).items())
        return {n: refusal for of_shard in refused for n, refusal in of_shard.items()}

    async def _debit(self, lines: Sequence[Line], not_admitted: Mapping[int, Refusal]) -> Decisions:
        if not lines:
            return Decisions([], [])
        shard = self._range.shard
        async with bulk_on(self._shards[shard]) as tx:
            return await decide_and_debit(tx, self._batch_round, lines, not_admitted, self._routes)

    def _by_other_shard(self, lines: Sequence[Line]) -> dict[str, list[Line]]:
        """The lines whose target is on another shard, by that shard."""
        by_shard: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            shard = self._routes[line.target].shard
            if shard != self._range.shard:
                by_shard[shard].append(line)
        return by_shard


def _smaller_chunks_on_retry(range_: LineRange) -> LineRange:
    """Halves the lines of a transaction at each further attempt: the last one may have been too long for the server."""
    lines = max(range_.chunk_lines >> (activity.info().attempt - 1), min(range_.chunk_lines, CHUNK_LINES_MIN))
    return replace(range_, chunk_lines=lines)


async def _nothing() -> None:
    pass
