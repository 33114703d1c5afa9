"""Projects one shard's events into the read model, batch by batch."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotMigrated, ShardwiseError, TryAgain
from domain.events import PROJECTED, Aggregate
from shards.connections.database import Database
from shards.connections.database_errors import blames_the_data
from shards.outbox.cursors import RebuildNeeded, assert_untrimmed, trimmed_to
from shards.outbox.marks import HistoryLost, Marked, Vouched, read_mark, renew_mark
from shards.outbox.slice import BEGINNING, Slice, Taken, has_events_after, has_news, slice_from
from shards.projection.copying import Copier
from shards.projection.parked import park, parked_among, parked_page, unpark
from shards.projection.reading import ALL_LINES, Documents, Touched, Unfit, lines_within, read_documents, read_touched
from shards.projection.writing import lock_product_names
from shards.routing.shard_transaction import translating_errors
from shards.tables.versions import Version, existing

log = logging.getLogger("shardwise.projection")

_OPEN = """
    INSERT INTO {s}.projection_cursor (shard, generation, xid)
    SELECT :shard, coalesce(max(generation), 1), '0' FROM {s}.projection_cursor ON CONFLICT DO NOTHING
"""
_LOCK = """
    SELECT generation, CAST(xid AS text) AS position, reader, mark, forks -> -1 ->> 0 AS fork,
           EXISTS (SELECT FROM {s}.parked_aggregate AS p WHERE p.shard = :shard) AS has_parked
    FROM {s}.projection_cursor WHERE shard = :shard FOR UPDATE
"""
# If the versions were switched while we waited for the lock, the generation differs: no row is updated, and the caller
# tries again.
_MOVE = """
    UPDATE {s}.projection_cursor
    SET xid = CAST(CAST(:end AS text) AS xid8), mark = :mark, lsn = :lsn,
        forks = CAST(CAST(:forks AS text) AS jsonb), events = events + :events, moved_at = now()
    WHERE shard = :shard AND generation = :generation RETURNING true
"""
# How many parked aggregates are tried again in one transaction.
_RETRIED_AT_ONCE = 100

T = TypeVar("T")


@dataclass(slots=True)
class Chunk:
    """Rows to write besides those of events. `rows` and `lines` are as in `Documents`. When failures are isolated,
    `keys` takes the place of `rows`: aggregates of one kind, without lines."""

    aggregate: Aggregate | None = None
    rows: str | None = None
    keys: list[str] = field(default_factory=list)
    lines: str | None = None


# Given the read model's transaction, a snapshot of the shard, and whether failures are isolated: the next chunk to
# write, or None if there is no more.
NextChunk = Callable[[AsyncConnection, AsyncConnection, bool], Awaitable[Chunk | None]]


@dataclass(frozen=True, slots=True)
class Cursor:
    generation: int
    position: str
    reader: str
    mark: str | None
    fork: str | None
    has_parked: bool


class Projector:
    """A consumer of one shard's outbox: see `shards.outbox.following`. Each version of the read model has its own
    position.

    There is one writer at a time for each shard and version: the cursor's row is locked before the shard is read, so
    an earlier snapshot is never written after a later one, and two relays, or a relay and a rebuild, take turns.
    """

    name = "projection"

    def __init__(self, shard: Database, read_model: Database) -> None:
        self._shard = shard
        self._read_model = read_model
        self._positions: dict[Version, str] = {}
        self._fork: str | None = None

    async def take_next(self) -> Taken:
        """Projects the next slice into every existing version. If one fails, the others are still done, and then its
        `ShardwiseError` is raised. A `retired` version of another history is left as it is."""
        if await self._is_idle():
            return Taken(0, False)
        with translating_errors(self._shard.name):
            async with self._read_model.transaction() as connection:
                versions = await existing(connection)
        self._positions = {each: self._positions[each] for each in versions if each in self._positions}
        steps, failures = [Taken(0, False)], []
        for version in versions:
            try:
                steps.append(await self.project(version))
            except ShardwiseError as failure:
                self._positions.pop(version, None)
                if not (isinstance(failure, HistoryLost) and version is Version.RETIRED):
                    failures.append(failure)
        if failures:
            raise failures[0]
        return Taken(max(each.events for each in steps), any(each.more for each in steps))

    async def _is_idle(self) -> bool:
        if Version.LIVE not in self._positions:
            return False
        oldest = min(self._positions.values(), key=int)
        with translating_errors(self._shard.name):
            async with self._shard.transaction() as connection:
                return not await has_news(connection, oldest, self._fork)

    async def project(self, version: Version) -> Taken:
        """Projects the next slice into one version, as a whole or not at all. Does nothing for a `next` that is not
        being filled from this shard.

        Aggregates that cannot be projected are parked with their reason, and the rest goes on. `RebuildNeeded` if the
        shard has trimmed events that this version lacks, `HistoryLost` if its position is of another history,
        `TryAgain` if the read model was switched meanwhile.
        """
        return await self._isolating_failures(version, lambda isolate: self._project_slice(version, isolate))

    async def write_chunk(self, version: Version, next_chunk: NextChunk) -> bool:
        """Writes the chunk that `next_chunk` returns, under the cursor's lock, like the aggregates of events; the
        position stays. Writes by `next_chunk` to the version share the transaction. False if there was nothing to
        write.

        Aggregates that cannot be projected are parked. Raises only errors of ours, after which nothing was done.
        """
        return await self._isolating_failures(version, lambda isolate: self._write_chunk(version, next_chunk, isolate))

    async def _isolating_failures(self, version: Version, attempt: Callable[[bool], Awaitable[T]]) -> T:
        with translating_errors(self._shard.name):
            try:
                return await attempt(False)
            except NotMigrated as error:
                if version is Version.LIVE:
                    raise
                raise TryAgain(f"the version {version} of the read model was dropped meanwhile") from error
            except Exception as error:
                if not blames_the_data(error):
                    raise
                # Without the message, which contains customers' data; the aggregate at fault is logged when it is
                # parked.
                log.warning(
                    "%s: isolating the aggregate at fault", type(error).__name__, extra={"shard": self._shard.name}
                )
                return await attempt(True)

    async def _write_chunk(self, version: Version, next_chunk: NextChunk, isolate: bool) -> bool:
        async with self._read_model.transaction() as to:
            cursor = await self._lock(to, version)
            if cursor is None:
                return False
            copier, unfit = Copier(to, version, self._shard.name), []
            async with self._shard.snapshot() as snapshot:
                await self._assert_same_history(snapshot, cursor)
                chunk = await next_chunk(to, snapshot, isolate)
                if chunk is None:
                    return False
                if chunk.aggregate is not None:
                    await _lock_product_names(to, cursor, {chunk.aggregate})
                if chunk.aggregate is not None and chunk.keys:
                    unfit += await copier.copy(snapshot, chunk.aggregate, dict.fromkeys(chunk.keys, 0), None)
            if chunk.aggregate is not None and chunk.rows is not None:
                await copier.write(chunk.aggregate, Documents(chunk.rows))
            if chunk.lines is not None and isolate:
                unfit += await copier.write_lines_isolated(json.loads(chunk.lines))
            elif chunk.lines is not None:
                await copier.write(Aggregate.ACCOUNT, Documents(lines=chunk.lines))
            await park(to, version, self._shard.name, unfit)
        return True

    async def _project_slice(self, version: Version, isolate: bool) -> Taken:
        async with self._read_model.transaction() as to:
            cursor = await self._lock(to, version)
            if cursor is None:
                return Taken(0, False)
            copier = Copier(to, version, self._shard.name)
            async with self._shard.snapshot() as snapshot:
                marked = await self._assert_same_history(snapshot, cursor)
                await assert_untrimmed(snapshot, cursor.position, self._shard.name)
                slice_ = await slice_from(snapshot, cursor.position)
                touched = await read_touched(snapshot, slice_)
                more = await has_events_after(snapshot, slice_)
                parked = await parked_among(to, version, self._shard.name, touched) if cursor.has_parked else {}
                if isolate or parked:
                    unfit = await self._copy_isolated(snapshot, copier, cursor, touched, parked, slice_)
                else:
                    lines = lines_within(slice_)
                    documents = {
                        aggregate: await read_documents(snapshot, aggregate, versions, lines)
                        for aggregate, versions in touched.in_order
                    }
            if not (isolate or parked):
                await _lock_product_names(to, cursor, documents)
                for aggregate, each in documents.items():
                    await copier.write(aggregate, each)
                unfit = [unfit for each in documents.values() for unfit in each.unfit]
            await park(to, version, self._shard.name, [*touched.unfit, *unfit])
            moves = touched.events > 0 or cursor.fork != marked.fork
            if moves:
                vouched = await self._mark(cursor, marked)
                await self._move(to, version, cursor, slice_.end, vouched, touched.events)
        self._positions[version], self._fork = slice_.end if moves else cursor.position, marked.fork
        return Taken(touched.events, more)

    async def _copy_isolated(
        self,
        snapshot: AsyncConnection,
        copier: Copier,
        cursor: Cursor,
        touched: Touched,
        parked: Mapping[Aggregate, set[str]],
        slice_: Slice,
    ) -> list[Unfit]:
        """Projects a slice while isolating failures. Parked aggregates in it are tried again, with all their
        lines."""
        await _lock_product_names(copier.to, cursor, touched.versions)
        unfit = []
        for aggregate, versions in touched.in_order:
            again = parked.get(aggregate, set())
            unfit += await self._unparked(snapshot, copier, aggregate, {key: versions[key] for key in again})
            fresh = {key: version for key, version in versions.items() if key not in again}
            if fresh:
                unfit += await copier.copy(snapshot, aggregate, fresh, lines_within(slice_))
        return unfit

    async def _unparked(
        self, snapshot: AsyncConnection, copier: Copier, aggregate: Aggregate, versions: Mapping[str, int]
    ) -> list[Unfit]:
        """Unparks these and tries them again. Returns those that are still unfit, which the caller parks again."""
        if not versions:
            return []
        await unpark(copier.to, copier.version, self._shard.name, aggregate, versions)
        return await copier.copy(snapshot, aggregate, versions, ALL_LINES)

    async def retry_parked(self, version: Version) -> int:
        """Tries all parked aggregates again. Returns how many stay parked."""
        still, after = 0, ("", "")
        with translating_errors(self._shard.name):
            while True:
                page, unfit = await self._retry_page(version, after)
                still += unfit
                if not page:
                    return still
                after = page[-1]

    async def _retry_page(self, version: Version, after: tuple[str, str]) -> tuple[list[tuple[str, str]], int]:
        """The aggregates that were tried, and how many of them stay parked."""
        async with self._read_model.transaction() as to:
            cursor = await self._lock(to, version)
            if cursor is None or not cursor.has_parked:
                return [], 0
            rows = await parked_page(to, version, self._shard.name, after, _RETRIED_AT_ONCE)
            known = [row for row in rows if row.aggregate in PROJECTED]
            copier, unfit = Copier(to, version, self._shard.name), []
            await _lock_product_names(to, cursor, {Aggregate(row.aggregate) for row in known})
            async with self._shard.snapshot() as snapshot:
                await self._assert_same_history(snapshot, cursor)
                for aggregate in PROJECTED:
                    versions = {row.aggregate_id: row.version for row in known if row.aggregate == aggregate}
                    unfit += await self._unparked(snapshot, copier, aggregate, versions)
            await park(to, version, self._shard.name, unfit)
            return [(row.aggregate, row.aggregate_id) for row in rows], len(unfit) + len(rows) - len(known)

    async def _lock(self, to: AsyncConnection, version: Version) -> Cursor | None:
        shard = {"shard": self._shard.name}
        row = (await to.execute(_of(_LOCK, version), shard)).one_or_none()
        if row is None and version is Version.LIVE:
            await self._assert_complete()
            await to.execute(_of(_OPEN, version), shard)
            row = (await to.execute(_of(_LOCK, version), shard)).one()
        return Cursor(*row) if row is not None else None

    async def _assert_complete(self) -> None:
        async with self._shard.transaction() as connection:
            if await trimmed_to(connection) != BEGINNING:
                raise RebuildNeeded(f"the read model knows nothing of {self._shard.name}, whose first events are gone")

    async def _assert_same_history(self, snapshot: AsyncConnection, cursor: Cursor) -> Marked:
        marked = await read_mark(snapshot, cursor.reader)
        if not marked.vouches_for(cursor.mark):
            raise HistoryLost(self._shard.name)
        return marked

    async def _mark(self, cursor: Cursor, seen: Marked) -> Vouched:
        async with self._shard.transaction() as connection:
            return await renew_mark(connection, cursor.reader, seen, cursor.mark)

    async def _move(
        self, to: AsyncConnection, version: Version, cursor: Cursor, end: str, vouched: Vouched, events: int
    ) -> None:
        about = {"generation": cursor.generation, "end": end, **asdict(vouched), "events": events}
        moved = (await to.execute(_of(_MOVE, version), {"shard": self._shard.name, **about})).one_or_none()
        if moved is None:
            raise TryAgain("the read model was switched meanwhile")


async def _lock_product_names(to: AsyncConnection, cursor: Cursor, aggregates: Iterable[Aggregate]) -> None:
    written = set(aggregates)
    if written & {Aggregate.PRODUCT, Aggregate.ORDER}:
        await lock_product_names(to, cursor.generation, change=Aggregate.PRODUCT in written)


def _of(statement: str, version: Version) -> TextClause:
    return text(statement.replace("{s}", version.value))
