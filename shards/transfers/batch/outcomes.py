"""Reads the outcome of each staged line, in the order of the file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import text

from domain.identifiers import transfer_saga_id
from domain.sagas import Reason
from domain.shard_map import ShardMap
from domain.transfers import Protocol, TransferState
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.routing.bulk_transaction import bulk_on

PAGE_LINES = 10_000

_READ = text("""
    SELECT line.n, line.transfer_id, line.source, line.target, line.repeats, transfer.state, transfer.reason,
           transfer.detail, transfer.protocol, transfer.content_hash = line.content_hash AS same,
           transfer.batch_id = line.batch_id AS ours
    FROM (SELECT * FROM batch_line WHERE batch_id = :batch_id AND n > :after AND n <= :last) AS line
    LEFT JOIN transfer ON transfer.source = line.source AND transfer.id = line.transfer_id
    ORDER BY line.n
""")
_CREDITED = text("SELECT saga_id FROM admission WHERE saga_id = ANY(:saga_ids) AND state = 'credited'")


class LineStatus(StrEnum):
    """`pending`: not decided yet, or the money has not arrived yet. `repeated`: the same transfer is in an earlier
    line. `invalid`: also if the id names a transfer with other content."""

    SETTLED = "settled"
    DECLINED = "declined"
    PENDING = "pending"
    INVALID = "invalid"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class LineResult:
    n: int
    transfer_id: str
    source: str
    status: LineStatus
    reason: str = ""
    detail: str = ""


async def read_outcomes(
    cluster: Cluster, shard_map: ShardMap, batch_id: str, last: int, finished: bool
) -> AsyncIterator[tuple[int, list[LineResult]]]:
    """The outcomes of the staged lines up to line `last`, in pages, each with the number of its last line.

    `finished`: the batch has credited all its targets; otherwise the targets' shards are queried.
    """
    for after in range(0, last, PAGE_LINES):
        end = min(after + PAGE_LINES, last)
        pages = await gather_all(_read(cluster, shard, batch_id, after, end) for shard in cluster.primaries)
        rows = sorted((row for page in pages for row in page), key=lambda row: row.n)
        arrived = await _credited_ids(cluster, shard_map, [row for row in rows if _may_be_in_flight(row, finished)])
        yield end, [_outcome(row, finished, arrived) for row in rows]


async def _read(cluster: Cluster, shard: str, batch_id: str, after: int, last: int) -> Sequence[Any]:
    async with bulk_on(cluster.shards[shard]) as tx:
        await tx.plan_each_time()
        return (await tx.execute(_READ, batch_id=batch_id, after=after, last=last)).all()


def _may_be_in_flight(row: Any, finished: bool) -> bool:
    return row.state == TransferState.CONFIRMED and row.protocol != Protocol.LOCAL and not (finished and row.ours)


async def _credited_ids(cluster: Cluster, shard_map: ShardMap, rows: Sequence[Any]) -> set[str]:
    """Saga ids of those whose target has the money."""
    by_shard = defaultdict(list)
    for row in rows:
        by_shard[shard_map.of_account(row.target).shard].append(transfer_saga_id(row.source, row.transfer_id))

    async def read(shard: str, saga_ids: list[str]) -> Sequence[str]:
        async with bulk_on(cluster.shards[shard]) as tx:
            return (await tx.execute(_CREDITED, saga_ids=saga_ids)).scalars().all()

    found = await gather_all(read(shard, saga_ids) for shard, saga_ids in by_shard.items())
    return {saga_id for saga_ids in found for saga_id in saga_ids}


def _outcome(row: Any, finished: bool, arrived: set[str]) -> LineResult:
    if row.state is not None and not row.same:
        detail = f"{row.transfer_id} of account {row.source} already names a transfer with other content"
        return LineResult(row.n, row.transfer_id, row.source, LineStatus.INVALID, Reason.ID_CONFLICT, detail)
    if row.repeats is not None:
        detail = f"the same transfer as in line {row.repeats}"
        return LineResult(row.n, row.transfer_id, row.source, LineStatus.REPEATED, "", detail)
    if row.state == TransferState.DECLINED:
        return LineResult(row.n, row.transfer_id, row.source, LineStatus.DECLINED, row.reason, row.detail)
    settled = row.state == TransferState.CONFIRMED and (
        not _may_be_in_flight(row, finished) or transfer_saga_id(row.source, row.transfer_id) in arrived
    )
    return LineResult(row.n, row.transfer_id, row.source, LineStatus.SETTLED if settled else LineStatus.PENDING)
