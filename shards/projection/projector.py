"""One shard's events into the read model, batch by batch."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import TextClause, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotMigrated, TryAgain
from shards.engines import Database
from shards.integrity import sqlstate, told
from shards.outbox_cursors import RebuildNeeded, assert_untrimmed, trimmed_to
from shards.outbox_stretch import BEGINNING, Stepped, is_anything_behind, more_behind, stretch_after
from shards.projection.reading import Aggregate, Batch, Strange, read_aggregates, read_stretch
from shards.projection.versions import Version, existing
from shards.projection.writing import lock_names, write_documents, write_lines
from shards.routing import failures_on

_OPEN = """
    INSERT INTO {s}.projection_cursor (shard, generation, xid)
    SELECT :shard, coalesce(max(generation), 1), '0' FROM {s}.projection_cursor ON CONFLICT DO NOTHING
"""
_LOCK = """
    SELECT generation, CAST(xid AS text) AS position,
           EXISTS (SELECT FROM {s}.parked_aggregate AS p WHERE p.shard = :shard) AS has_parked
    FROM {s}.projection_cursor WHERE shard = :shard FOR UPDATE
"""
# The generation tells a writer that waited through a switch that the name means another version now.
_MOVE = """
    UPDATE {s}.projection_cursor SET xid = CAST(CAST(:end AS text) AS xid8), events = events + :events, moved_at = now()
    WHERE shard = :shard AND generation = :generation RETURNING true
"""
_PARK = """
    INSERT INTO {s}.parked_aggregate AS p (shard, aggregate, aggregate_id, version, reason)
    VALUES (:shard, :aggregate, :key, :version, :reason)
    ON CONFLICT (shard, aggregate, aggregate_id) DO UPDATE
    SET version = greatest(p.version, excluded.version), reason = excluded.reason, parked_at = now()
"""
_UNPARK = """
    DELETE FROM {s}.parked_aggregate WHERE shard = :shard AND aggregate = :aggregate AND aggregate_id = ANY(:keys)
"""
_PARKED = "SELECT aggregate, aggregate_id, version FROM {s}.parked_aggregate WHERE shard = :shard LIMIT 1000"
# What the data are to blame for: another attempt at the same rows ends the same way.
_DATA_AT_FAULT = ("22", "23")

T = TypeVar("T")

# From the version's transaction and a snapshot of the shard: what to write next, None where there is no more.
More = Callable[[AsyncConnection, AsyncConnection], Awaitable[Batch | None]]


@dataclass(frozen=True, slots=True)
class Cursor:
    generation: int
    position: str
    has_parked: bool


class Projector:
    """A consumer of one shard's outbox: see `shards.outbox_following`. Each version of the read model has a position.

    One writer at a time for each shard and version: the cursor's row is locked before the shard is read, so that a
    later snapshot is never overtaken by an earlier one, and two relays, or a relay and a rebuild, take turns.
    """

    name = "projection"

    def __init__(self, shard: Database, read_model: Database) -> None:
        self._shard = shard
        self._read_model = read_model
        self._positions: dict[Version, str] = {}

    async def step(self) -> Stepped:
        """One batch into every version that is there. Raises errors of ours, after what was done is done."""
        if await self._is_idle():
            return Stepped(0, False)
        with failures_on(self._shard.name):
            async with self._read_model.transaction() as connection:
                versions = await existing(connection)
        self._positions = {each: self._positions[each] for each in versions if each in self._positions}
        steps = [await self.project(version) for version in versions]
        return Stepped(max(each.events for each in steps), any(each.more for each in steps))

    async def _is_idle(self) -> bool:
        if Version.LIVE not in self._positions:
            return False
        oldest = min(self._positions.values(), key=int)
        with failures_on(self._shard.name):
            async with self._shard.transaction() as connection:
                return not await is_anything_behind(connection, oldest)

    async def project(self, version: Version) -> Stepped:
        """One batch into one version, as a whole or not at all. Nothing where `next` is not being filled from here.

        What cannot be projected is parked with its reason, and the rest goes on. `RebuildNeeded` where the shard has
        trimmed events that this version lacks; `TryAgain` where the read model was switched meanwhile.
        """
        return await self._whole_or_careful(version, lambda careful: self._batch(version, careful))

    async def write_more(self, version: Version, more: More) -> bool:
        """What `more` answers, written under the cursor's lock as an event's aggregates are; the position stays. What
        `more` writes into the version shares the transaction. False where there was nothing to write.

        What the version refuses is parked. Raises errors of ours, after which nothing was done.
        """
        return await self._whole_or_careful(version, lambda careful: self._more(version, more, careful))

    async def _whole_or_careful(self, version: Version, attempt: Callable[[bool], Awaitable[T]]) -> T:
        with failures_on(self._shard.name):
            try:
                return await attempt(False)
            except DBAPIError as error:
                if (sqlstate(error) or "")[:2] not in _DATA_AT_FAULT:
                    raise
                return await attempt(True)
            except NotMigrated as error:
                if version is Version.LIVE:
                    raise
                raise TryAgain(f"the version {version} of the read model was taken away meanwhile") from error

    async def _more(self, version: Version, more: More, careful: bool) -> bool:
        async with self._read_model.transaction() as to:
            cursor = await self._lock(to, version)
            if cursor is None:
                return False
            async with self._shard.snapshot() as snapshot:
                batch = await more(to, snapshot)
            if batch is None:
                return False
            await self._write(to, version, cursor, batch, careful)
        return True

    async def _batch(self, version: Version, careful: bool) -> Stepped:
        async with self._read_model.transaction() as to:
            cursor = await self._lock(to, version)
            if cursor is None:
                return Stepped(0, False)
            async with self._shard.snapshot() as snapshot:
                await assert_untrimmed(snapshot, cursor.position, self._shard.name)
                stretch = await stretch_after(snapshot, cursor.position)
                batch = await read_stretch(snapshot, stretch)
                more = await more_behind(snapshot, stretch)
            await self._write(to, version, cursor, batch, careful)
            await self._move(to, version, cursor, stretch.end, batch.events)
        self._positions[version] = stretch.end
        return Stepped(batch.events, more)

    async def retry_parked(self, version: Version) -> int:
        """Tries what is parked again: how many aggregates still are."""
        with failures_on(self._shard.name):
            async with self._read_model.transaction() as to:
                cursor = await self._lock(to, version)
                if cursor is None or not cursor.has_parked:
                    return 0
                rows = (await to.execute(_of(_PARKED, version), {"shard": self._shard.name})).all()
                async with self._shard.snapshot() as snapshot:
                    batch = await _read_again(snapshot, rows)
                await self._write(to, version, cursor, batch, careful=True)
                return len((await to.execute(_of(_PARKED, version), {"shard": self._shard.name})).all())

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

    async def _write(self, to: AsyncConnection, version: Version, cursor: Cursor, batch: Batch, careful: bool) -> None:
        if batch.documents.keys() & {Aggregate.PRODUCT, Aggregate.ORDER}:
            await lock_names(to, cursor.generation, change=Aggregate.PRODUCT in batch.documents)
        strange = list(batch.strange)
        for aggregate in Aggregate:
            if aggregate in batch.documents:
                strange += await self._write_documents(to, version, aggregate, batch, careful)
            if aggregate is Aggregate.ACCOUNT and batch.lines is not None:
                strange += await _write_lines(to, version, batch.lines, careful)
        if cursor.has_parked:
            await self._unpark(to, version, batch)
        for each in strange:
            await to.execute(
                _of(_PARK, version),
                {
                    "shard": self._shard.name,
                    "aggregate": each.aggregate,
                    "key": each.key,
                    "version": each.version,
                    "reason": each.reason,
                },
            )

    async def _write_documents(
        self, to: AsyncConnection, version: Version, aggregate: Aggregate, batch: Batch, careful: bool
    ) -> list[Strange]:
        documents = batch.documents[aggregate]
        if not careful:
            await write_documents(to, version, self._shard.name, aggregate, documents)
            return []
        strange = []
        for document in json.loads(documents):
            try:
                async with to.begin_nested():
                    await write_documents(to, version, self._shard.name, aggregate, json.dumps([document]))
            except DBAPIError as error:
                strange.append(Strange(aggregate, document["key"], document["version"], _reason(error)))
        return strange

    async def _unpark(self, to: AsyncConnection, version: Version, batch: Batch) -> None:
        """What is strange still is parked again behind this."""
        for aggregate, versions in batch.touched.items():
            about = {"shard": self._shard.name, "aggregate": aggregate, "keys": list(versions)}
            await to.execute(_of(_UNPARK, version), about)

    async def _move(self, to: AsyncConnection, version: Version, cursor: Cursor, end: str, events: int) -> None:
        about = {"shard": self._shard.name, "generation": cursor.generation, "end": end, "events": events}
        moved = (await to.execute(_of(_MOVE, version), about)).one_or_none()
        if moved is None:
            raise TryAgain("the read model was switched meanwhile")


async def _read_again(snapshot: AsyncConnection, rows: Sequence[Any]) -> Batch:
    batch = Batch()
    for aggregate in Aggregate:
        versions = {row.aggregate_id: row.version for row in rows if row.aggregate == aggregate}
        if versions:
            await read_aggregates(snapshot, batch, aggregate, versions)
    return batch


async def _write_lines(to: AsyncConnection, version: Version, documents: str, careful: bool) -> list[Strange]:
    if not careful:
        await write_lines(to, version, documents)
        return []
    strange = []
    for document in json.loads(documents):
        try:
            async with to.begin_nested():
                await write_lines(to, version, json.dumps([document]))
        except DBAPIError as error:
            strange.append(Strange(Aggregate.ACCOUNT, document["account_id"], 0, _reason(error)))
    return strange


def _reason(error: DBAPIError) -> str:
    """Raises what another attempt may mend."""
    if (sqlstate(error) or "")[:2] not in _DATA_AT_FAULT:
        raise error
    return f"the read model refuses it: {told(error).message}"


def _of(statement: str, version: Version) -> TextClause:
    return text(statement.replace("{s}", version.value))
