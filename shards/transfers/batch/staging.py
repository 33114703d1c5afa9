"""Staging: a file's valid lines are copied to the shards of their sources before any of them is decided.

The batch's row in the catalog says whether all lines are there. Until then they count for nothing, and the next run of
the same file replaces them. All imports stage one at a time, under a lease of the installation. Every transaction that
writes begins with the lease's fence, so that an import that was stopped beyond its lease writes nothing when it wakes.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from domain.leases import InstallationLease, Mode, Wanted
from domain.shard_map import ShardMap
from domain.transfers import Transfer
from shards.connections.cluster import Cluster
from shards.connections.concurrency import gather_all
from shards.connections.database_errors import LockTimedOut
from shards.leases.fence import raise_fence
from shards.leases.keeping import HeldLease, held_lease
from shards.leases.leases import Leases
from shards.routing.bulk_transaction import BulkTransaction, bulk_on
from shards.routing.router import Router
from shards.routing.shard_transaction import translating_errors
from shards.transfers.batch.lines import Routes

# Lines per COPY and transaction: short transactions, because a long one would hold back the outbox.
COPY_LINES = 20_000
# How long an import that was stopped keeps the next one waiting: the time of its lease, and of its transactions.
LEASE_SECONDS = 30.0
# Far fewer than a server marks: what a shard may take to find repeated lines in a large file.
SETTLED_A_SECOND = 5_000
# Another import may have a large file.
WAIT_SECONDS = 86_400.0
KEPT_DAYS = 7

_COLUMNS = ("batch_id", "n", "source", "transfer_id", "target", "currency", "amount", "reference", "content_hash")
# Characters with a meaning in COPY's text format. Of all our fields only a reference can contain them.
_ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

# These connections have no time limits, and a client that is stopped would keep the fence's lock for ever. Not only the
# time between two statements counts: a client can be stopped inside COPY, or between two messages of one statement.
_BOUND = text("""
    SELECT set_config('transaction_timeout', :milliseconds, true), set_config('lock_timeout', :of_a_lock, true)
""")
_READ = text("SELECT lines FROM transfer_batch WHERE id = :id AND staged_at IS NOT NULL")
_BEGIN = text("""
    INSERT INTO transfer_batch (id) VALUES (:id)
    ON CONFLICT (id) DO UPDATE SET lines = NULL, staged_at = NULL, finished_at = NULL
""")
_STAGED = text("UPDATE transfer_batch SET lines = :lines, staged_at = now() WHERE id = :id").bindparams(
    bindparam("lines", type_=JSONB)
)
_COUNT = text("SELECT count(*) FROM batch_line WHERE batch_id = :id")
_FINISH = text("UPDATE transfer_batch SET finished_at = now() WHERE id = :id AND staged_at IS NOT NULL")
_UNFINISHED = text("SELECT id FROM transfer_batch WHERE staged_at IS NOT NULL AND finished_at IS NULL ORDER BY id")
_RESUME = text("UPDATE transfer_batch SET finished_at = NULL WHERE id = :id")
_OLD = text("""
    SELECT id FROM transfer_batch
    WHERE coalesce(finished_at, created_at) < now() - make_interval(days => :days)
      AND (finished_at IS NOT NULL OR staged_at IS NULL)
""")
_DROP = text("DELETE FROM transfer_batch WHERE id = :id")
_CLEAR = [
    text(f"""
        DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE batch_id = :batch_id LIMIT :most))
    """)
    for table in ("batch_line", "batch_postponed", "batch_credit")
]
_MARK_REPEATED = text("""
    UPDATE batch_line AS line SET repeats = first
    FROM (
        SELECT source, transfer_id, min(n) AS first FROM batch_line
        WHERE batch_id = :batch_id GROUP BY source, transfer_id HAVING count(*) > 1
    ) AS same
    WHERE line.batch_id = :batch_id AND line.source = same.source AND line.transfer_id = same.transfer_id AND n > first
""")
_ANALYZE = text("ANALYZE batch_line")


@dataclass(frozen=True, slots=True)
class Staged:
    """How many lines are staged on each shard."""

    lines: Mapping[str, int]


class Staging:
    """Stages one batch: see `exclusive_staging`. Needs a cluster without time limits."""

    def __init__(self, cluster: Cluster, shard_map: ShardMap, batch_id: str, lease: HeldLease) -> None:
        self._cluster = cluster
        self._lease = lease
        self._routes = Routes(shard_map)
        self._batch_id = batch_id
        self._rows: dict[str, list[str]] = {shard: [] for shard in cluster.primaries}
        self._lines: dict[str, int] = dict.fromkeys(cluster.primaries, 0)

    async def found(self) -> Staged | None:
        """What an earlier run has staged completely, or None. From now on it is kept until the batch is finished
        again."""
        return await resume(self._cluster, self._batch_id)

    async def begin(self) -> None:
        """Begins anew: deletes what a killed run has left."""
        async with self._in_catalog() as tx:
            await tx.execute(_BEGIN, id=self._batch_id)
        await self._clear(self._batch_id)

    async def add(self, n: int, transfer: Transfer) -> None:
        shard = self._routes[transfer.source].shard
        rows = self._rows[shard]
        rows.append(_row(self._batch_id, n, transfer))
        if len(rows) >= COPY_LINES:
            await self._copy(shard)

    async def end(self) -> Staged:
        """Completes the staging: from now on the batch can be carried out."""
        await gather_all(self._settle(shard) for shard in self._rows)
        lines = {shard: count for shard, count in self._lines.items() if count}
        async with self._in_catalog() as tx:
            await tx.execute(_STAGED, id=self._batch_id, lines=lines)
        return Staged(lines)

    async def drop_old(self, days: int = KEPT_DAYS) -> None:
        """Deletes staged lines of batches that were finished or abandoned long ago. The transfers stay, so importing
        the same file again still moves nothing."""
        async with self._in_catalog() as tx:
            old = list((await tx.execute(_OLD, days=days)).scalars())
        for batch_id in old:
            await self._clear(batch_id)
            async with self._in_catalog() as tx:
                await tx.execute(_DROP, id=batch_id)

    async def raise_fences(self) -> None:
        """Everywhere, before anything is read there: what an import before this one has begun has ended then, and it
        begins nothing more."""

        async def raise_on(shard: str) -> None:
            while True:
                # As long as what another import has begun is let go on.
                with contextlib.suppress(LockTimedOut):
                    async with self._on(shard):
                        return

        async with self._in_catalog():
            pass
        await gather_all(raise_on(shard) for shard in self._cluster.primaries)

    @asynccontextmanager
    async def _on(self, shard: str, lines: int = 0) -> AsyncIterator[BulkTransaction]:
        """A transaction that writes; its time grows with the `lines` that one statement looks at. Raises `LeaseLost` if
        a later import was here."""
        async with bulk_on(self._cluster.shards[shard]) as tx:
            await self._open(tx, lines)
            yield tx

    @asynccontextmanager
    async def _in_catalog(self) -> AsyncIterator[BulkTransaction]:
        """The same in the catalog."""
        with translating_errors("catalog"):
            async with self._cluster.catalog.transaction() as connection:
                tx = BulkTransaction(connection, "catalog")
                await self._open(tx)
                yield tx

    async def _open(self, tx: BulkTransaction, lines: int = 0) -> None:
        bound, of_a_lock = LEASE_SECONDS + lines / SETTLED_A_SECOND, LEASE_SECONDS / 2
        await tx.execute(_BOUND, milliseconds=str(int(bound * 1000)), of_a_lock=str(int(of_a_lock * 1000)))
        await raise_fence(tx, self._lease.name, self._lease.token)

    async def _clear(self, batch_id: str) -> None:
        async def clear(shard: str) -> None:
            for statement in _CLEAR:
                deleted = COPY_LINES
                while deleted == COPY_LINES:
                    async with self._on(shard) as tx:
                        deleted = (await tx.execute(statement, batch_id=batch_id, most=COPY_LINES)).rowcount

        await gather_all(clear(shard) for shard in self._cluster.primaries)

    async def _copy(self, shard: str) -> None:
        rows, self._rows[shard] = self._rows[shard], []
        async with self._on(shard) as tx:
            await copy_lines(tx, rows)
        self._lines[shard] += len(rows)

    async def _settle(self, shard: str) -> None:
        if self._rows[shard]:
            await self._copy(shard)
        async with self._on(shard, self._lines[shard]) as tx:
            # First: the old statistics are of an almost empty table, and with them the next statement would be planned
            # to compare each line with every other one.
            await tx.execute(_ANALYZE)
            await tx.execute(_MARK_REPEATED, batch_id=self._batch_id)


@asynccontextmanager
async def exclusive_staging(cluster: Cluster, shard_map: ShardMap, batch_id: str) -> AsyncIterator[Staging]:
    """Lets one import stage at a time, in the order of arrival. A crash, or a stop, keeps the next one waiting for
    `LEASE_SECONDS`. Raises `LeaseLost` if this import was stopped for longer; then nothing of it is staged."""
    wanted = Wanted(f"import-{uuid4()}", Mode.EXCLUSIVE, LEASE_SECONDS, WAIT_SECONDS)
    async with held_lease(Leases(Router(cluster)), InstallationLease.STAGING, wanted) as lease:
        staging = Staging(cluster, shard_map, batch_id, lease)
        await staging.raise_fences()
        yield staging


async def resume(cluster: Cluster, batch_id: str) -> Staged | None:
    """What is staged of a batch; None if lines are missing. Reopens a finished batch, so that its lines are kept until
    it is finished again."""
    with translating_errors("catalog"):
        async with cluster.catalog.transaction() as connection:
            await connection.execute(_RESUME, {"id": batch_id})
    return await _staged(cluster, batch_id)


async def is_staged(cluster: Cluster, batch_id: str) -> bool:
    """Whether all lines of a batch are there. Changes nothing."""
    return await _staged(cluster, batch_id) is not None


async def _staged(cluster: Cluster, batch_id: str) -> Staged | None:
    """Also None if a shard was restored to a time before its lines were staged."""
    with translating_errors("catalog"):
        async with cluster.catalog.transaction() as connection:
            lines = (await connection.execute(_READ, {"id": batch_id})).scalar_one_or_none()

    async def are_there(shard: str, count: int) -> bool:
        async with bulk_on(cluster.shards[shard]) as tx:
            return bool((await tx.execute(_COUNT, id=batch_id)).scalar_one() == count)

    if lines is None or not all(await gather_all(are_there(*each) for each in lines.items())):
        return None
    return Staged(lines)


async def unfinished(cluster: Cluster) -> list[str]:
    """The batches that are staged and not finished."""
    with translating_errors("catalog"):
        async with cluster.catalog.transaction() as connection:
            return list((await connection.execute(_UNFINISHED)).scalars())


async def finish(cluster: Cluster, batch_id: str) -> None:
    """Marks a batch as finished: its lines are only needed to report the outcomes again. Idempotent."""
    with translating_errors("catalog"):
        async with cluster.catalog.transaction() as connection:
            await connection.execute(_FINISH, {"id": batch_id})


async def copy_lines(tx: BulkTransaction, rows: list[str]) -> None:
    """COPY, inside the transaction that SQLAlchemy has begun on the same connection."""
    driver = (await tx.connection.get_raw_connection()).driver_connection
    assert driver is not None
    source = io.BytesIO("".join(rows).encode())
    await driver.copy_to_table("batch_line", source=source, columns=_COLUMNS, format="text")


def _row(batch_id: str, n: int, transfer: Transfer) -> str:
    """One line of COPY's text format."""
    amount = transfer.amount
    reference = transfer.reference.translate(_ESCAPED) if transfer.reference is not None else "\\N"
    return (
        f"{batch_id}\t{n}\t{transfer.source}\t{transfer.transfer_id}\t{transfer.target}\t{amount.currency}"
        f"\t{amount.minor}\t{reference}\t{transfer.content_hash}\n"
    )
