"""`reads bench`: many reads through the same balancer as all reads, and which server answered how many of them."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from domain.balancing import Balancing, fair_shares
from domain.consistency import Level
from domain.errors import InvalidInput, Refused
from domain.identifiers import shown
from domain.numbers import check_whole
from domain.percentiles import percentile
from domain.progress import Report
from shards.accounts.reads import read_account, some_accounts
from shards.catalogue.reads import read_product, some_skus
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.shard import Shard
from shards.reading.shard_reads import ReadSettings, ShardReads
from shards.routing.router import Router
from shardwise.reading import ReadsAt, recording
from shardwise.sessions import Session

READS_MAX = 1_000_000
CONCURRENCY_MAX = 100
KEYS_OF_A_SHARD_MAX = 1_000
REPORT_EVERY = 100


class Rows(StrEnum):
    PRODUCTS = "products"
    ACCOUNTS = "accounts"


class ServerReads(BaseModel):
    """`share`: of the reads of its shard. `expected_share`: what balancer and weights give it if all replicas are fit
    and at the point; None with least connections. `weight` is None for a primary, which is in no balance. Times in
    milliseconds, None where nothing was read."""

    shard: str
    server: str
    weight: int | None
    reads: int
    share: float
    expected_share: float | None
    p50_ms: float | None
    p99_ms: float | None


class ReadsBenchDocument(BaseModel):
    """`keys`: how many rows were read in turns. `waited`: how many reads waited for a server to come as far as they
    demanded. `servers`: by shard, the primary first."""

    rows: Rows
    keys: int
    consistency: Level
    balancing: Balancing
    concurrency: int
    reads: int
    waited: int
    seconds: float
    servers: list[ServerReads]


@dataclass(frozen=True, slots=True)
class ReadsBenchOptions:
    """`shard`: only rows of this one. `InvalidInput` for numbers out of bounds."""

    reads: int
    concurrency: int
    level: Level
    shard: str | None = None

    def __post_init__(self) -> None:
        check_whole(self.reads, "reads", 1, READS_MAX)
        check_whole(self.concurrency, "concurrency", 1, CONCURRENCY_MAX)


@dataclass(slots=True)
class Taken:
    """Seconds that each read took, by server."""

    by_server: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    waited: int = 0


async def bench_reads(
    router: Router, how: ReadSettings, options: ReadsBenchOptions, progress: Report
) -> ReadsBenchDocument:
    """Reads existing rows in turns. Changes nothing. `Refused` with `nothing_to_read` if there are none, `InvalidInput`
    naming `shard` if there is none of that name.

    At the levels that need a session each reader has one of its own. What a read costs here includes that it says which
    server answered: one statement more than a read without a session.
    """
    shards = _chosen(router.cluster, options.shard)
    rows, keys = await _rows_of(shards)
    reads = ShardReads(router, how)
    try:
        started = time.perf_counter()
        taken = await _Readers(reads, rows, keys, options, progress).run()
        seconds = time.perf_counter() - started
    finally:
        await reads.close()
    return ReadsBenchDocument(
        rows=rows,
        keys=len(keys),
        consistency=options.level,
        balancing=how.balancing,
        concurrency=options.concurrency,
        reads=options.reads,
        waited=taken.waited,
        seconds=round(seconds, 3),
        servers=[each for shard in shards for each in spread_of(shard, how.balancing, options.level, taken.by_server)],
    )


def spread_of(
    shard: Shard, balancing: Balancing, level: Level, taken: Mapping[str, Sequence[float]]
) -> Iterator[ServerReads]:
    """The primary, then the replicas, also those that answered nothing."""
    weights = {replica.name: replica.weight for replica in shard.replicas}
    of_shard = sum(len(taken.get(name, ())) for name in (shard.name, *weights))
    from_primary = level is Level.STRONG or not weights
    fair = None if from_primary else fair_shares(balancing, weights)
    for name in (shard.name, *weights):
        seconds = taken.get(name, ())
        expected: float | None = float(from_primary) if name == shard.name else 0.0
        if name != shard.name and not from_primary:
            expected = fair[name] if fair is not None else None
        yield ServerReads(
            shard=shard.name,
            server=name,
            weight=weights.get(name),
            reads=len(seconds),
            share=round(len(seconds) / of_shard, 4) if of_shard else 0.0,
            expected_share=round(expected, 4) if expected is not None else None,
            p50_ms=round(percentile(seconds, 50) * 1000, 2) if seconds else None,
            p99_ms=round(percentile(seconds, 99) * 1000, 2) if seconds else None,
        )


def _chosen(cluster: Cluster, name: str | None) -> list[Shard]:
    if name is not None and name not in cluster.shards:
        raise InvalidInput("shard", f"shard: expected one of {', '.join(sorted(cluster.shards))}, got {shown(name)}")
    return [cluster.shards[each] for each in sorted(cluster.shards) if name in (None, each)]


async def _rows_of(shards: Sequence[Shard]) -> tuple[Rows, list[str]]:
    """The shards take turns, so that each has as many reads as the others while it has as many keys."""
    for rows, some in ((Rows.PRODUCTS, some_skus), (Rows.ACCOUNTS, some_accounts)):
        by_shard = []
        for shard in shards:
            async with shard.primary.autocommit() as connection:
                by_shard.append(await some(connection, KEYS_OF_A_SHARD_MAX))
        keys = [key for turn in itertools.zip_longest(*by_shard) for key in turn if key is not None]
        if keys:
            return rows, keys
    where = f" on {shards[0].name}" if len(shards) == 1 else ""
    message = f"there is no product and no account to read{where}: `shardwise import products` lists products"
    raise Refused("nothing_to_read", message)


class _Readers:
    def __init__(
        self, reads: ShardReads, rows: Rows, keys: Sequence[str], options: ReadsBenchOptions, progress: Report
    ) -> None:
        self._reads = reads
        self._read: Callable[[ReadsAt, str], Awaitable[Any]]
        self._read = read_product if rows is Rows.PRODUCTS else read_account
        self._keys = keys
        self._options = options
        self._progress = progress
        self._numbers = iter(range(options.reads))
        self._done = 0
        self._taken = Taken()

    async def run(self) -> Taken:
        await gather_all(self._reader() for _ in range(self._options.concurrency))
        return self._taken

    async def _reader(self) -> None:
        level = self._options.level
        needs_session = level in (Level.READ_YOUR_WRITES, Level.MONOTONIC)
        reads = ReadsAt(self._reads, level, Session() if needs_session else None)
        try:
            while (number := next(self._numbers, None)) is not None:
                await self._one(reads, self._keys[number % len(self._keys)])
        except BaseException:
            self._numbers = iter(range(0))  # The others end with the read that they are at.
            raise

    async def _one(self, reads: ReadsAt, key: str) -> None:
        with recording() as served:
            started = time.perf_counter()
            await self._read(reads, key)
            seconds = time.perf_counter() - started
        self._taken.by_server[served[-1].server].append(seconds)
        self._taken.waited += served[-1].waited_seconds > 0
        self._done += 1
        if self._done % REPORT_EVERY == 0:
            self._progress("reads", self._done, self._options.reads)
