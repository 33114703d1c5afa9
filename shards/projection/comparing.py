"""Compares a version of the read model with a shard's tables, row by row, by content, while both are in use.

First both sides compute a checksum for each of some thousand slices of the keys. If a slice differs, its rows are
streamed by key, and rows that differ are read as documents: first from the version, with its position, then from the
shard. If the shard has events of that aggregate at or after the position, the row cannot be judged yet. If it has none,
all changes of the row lie before the position, and the two must be equal.

Memory is bounded, and nothing is changed. The connections must be without time limits: see `Database.without_timeouts`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.events import Aggregate
from shards.connections.database import Database
from shards.projection.comparable import COMPARABLES, Comparable
from shards.tables.versions import Version

# How many rows are fetched from a stream at once, and how many are read as documents at once.
PART_ROWS = 500
# How often a row with recent events is read again, and how long that may take for all rows of a shard.
LOOKS_MAX = 3
WAIT_SECONDS_MAX = 3.0
POLL_SECONDS = 0.05

# So that both servers write times and dates in the same way, whatever their settings.
_ALIKE = text("SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO', true)")
_POSITION = "SELECT CAST(xid AS text) FROM {s}.projection_cursor WHERE shard = :shard"
_PARKED = "SELECT aggregate, aggregate_id FROM {s}.parked_aggregate WHERE shard = :shard"
# A position after everything that this snapshot shows.
_SEEN = text("SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text)")
_EVENTS_BEHIND = text("""
    SELECT aggregate, aggregate_id FROM outbox
    WHERE xid >= CAST(CAST(:position AS text) AS xid8) AND aggregate_id = ANY(:ids) AND aggregate = ANY(:aggregates)
""")
_SUMS = """
    SELECT left(md5(key), 3) AS slice, count(*) AS rows,
           sum(CAST(CAST('x' || left(md5(CAST(d AS text)), 15) AS bit(60)) AS bigint)) AS checksum
    FROM ({rows}) AS d GROUP BY 1
"""
_ENTRIES = """
    SELECT key, owner, md5(CAST(d AS text)) AS digest FROM ({rows}) AS d
    WHERE left(md5(key), 3) = ANY(:slices) ORDER BY key COLLATE "C"
"""
_DOCUMENTS = """
    SELECT CAST(to_jsonb(d) AS text) FROM ({rows}) AS d WHERE owner = ANY(:owners) AND key = ANY(:keys)
"""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """A row as the shard and as the version of the read model have it; None if a side has no such row."""

    kind: Comparable
    key: str
    of_shard: Document | None
    of_version: Document | None

    @property
    def fields(self) -> dict[str, tuple[Any, Any]]:
        """The columns that differ, each with the shard's and the version's value. Empty if a side has no row."""
        if self.of_shard is None or self.of_version is None:
            return {}
        ours, theirs = self.of_shard, self.of_version
        return {name: (ours[name], theirs[name]) for name in sorted(ours) if ours[name] != theirs[name]}


@dataclass(slots=True)
class Compared:
    """How many rows were compared, and how many could not be judged because of events that are not projected yet."""

    rows: int = 0
    moving: int = 0


@dataclass(frozen=True, slots=True)
class _Suspect:
    key: str
    owner: str


class Comparison:
    """Compares one shard with one version, which must have a position there. Parked aggregates are left out."""

    def __init__(self, shard: Database, read_model: Database, version: Version) -> None:
        self.compared = Compared()
        self._shard = shard
        self._read_model = read_model
        self._version = version
        self._ends = time.monotonic() + WAIT_SECONDS_MAX

    async def differences(self) -> AsyncGenerator[Difference, None]:
        """Every row that differs without an unprojected event to explain it. Close the generator if you leave it
        early."""
        for kind in COMPARABLES:
            slices = await self._slices(kind)
            if not slices:
                continue
            suspects: list[_Suspect] = []
            async with aclosing(self._entries(kind, slices)) as entries:
                async for suspect in entries:
                    suspects.append(suspect)
                    if len(suspects) == PART_ROWS:
                        for difference in await self._settle(kind, suspects):
                            yield difference
                        suspects = []
            for difference in await self._settle(kind, suspects):
                yield difference

    async def _slices(self, kind: Comparable) -> list[str]:
        """The slices whose rows differ."""

        async def sums(connection: AsyncConnection, rows: str) -> dict[str, tuple[int, int]]:
            found = await connection.execute(text(_SUMS.format(rows=rows)), {"shard": self._shard.name})
            return {row.slice: (row.rows, row.checksum) for row in found}

        async with self._read_model_view() as theirs, self._shard_view() as ours:
            of_version, of_shard = await asyncio.gather(sums(theirs, self._rows(kind)), sums(ours, kind.of_shard))
        self.compared.rows += sum(rows for rows, _ in of_shard.values())
        return [each for each in of_shard | of_version if of_shard.get(each) != of_version.get(each)]

    async def _entries(self, kind: Comparable, slices: Sequence[str]) -> AsyncGenerator[_Suspect, None]:
        async with self._read_model_view() as theirs, self._shard_view() as ours:
            left = _Stream(ours, text(_ENTRIES.format(rows=kind.of_shard)), slices, self._shard.name)
            right = _Stream(theirs, text(_ENTRIES.format(rows=self._rows(kind))), slices, self._shard.name)
            await asyncio.gather(left.open(), right.open())
            while left.row is not None or right.row is not None:
                here, there = left.row, right.row
                first = min(row.key.encode() for row in (here, there) if row is not None)
                mine = here if here is not None and here.key.encode() == first else None
                other = there if there is not None and there.key.encode() == first else None
                if mine is None or other is None or mine.digest != other.digest:
                    row: Any = mine or other
                    yield _Suspect(row.key, row.owner)
                if mine is not None:
                    await left.advance()
                if other is not None:
                    await right.advance()

    async def _settle(self, kind: Comparable, suspects: Sequence[_Suspect]) -> list[Difference]:
        found: list[Difference] = []
        for look in range(LOOKS_MAX):
            if not suspects:
                break
            seen, different, moving = await self._look(kind, suspects)
            found += different
            suspects = moving
            if suspects and look + 1 < LOOKS_MAX and not await self._has_passed(seen):
                break
        self.compared.moving += len(suspects)
        return found

    async def _look(
        self, kind: Comparable, suspects: Sequence[_Suspect]
    ) -> tuple[str, list[Difference], list[_Suspect]]:
        """A position after everything that was read of the shard, the rows that differ, and those that cannot be judged
        yet.

        Reads the version first, then the shard, so that every event that the version has taken is seen.
        """
        async with self._read_model_view() as view:
            position = (await view.execute(self._of(_POSITION), {"shard": self._shard.name})).scalar_one_or_none()
            parked = {(row.aggregate, row.aggregate_id) for row in await self._parked(view)}
            theirs = await self._documents(view, self._rows(kind), suspects)
        async with self._shard_view() as view:
            seen = (await view.execute(_SEEN)).scalar_one()
            ours = await self._documents(view, kind.of_shard, suspects)
            behind = await self._with_events_behind(view, kind, position or "0", [*theirs.values(), *ours.values()])
        different, moving = [], []
        for suspect in suspects:
            mine, other = ours.get(suspect.key), theirs.get(suspect.key)
            if mine == other or (kind.aggregate, suspect.owner) in parked:
                continue
            if {(kind.aggregate, suspect.owner), *_customers(mine, other)} & behind:
                moving.append(suspect)
            else:
                different.append(Difference(kind, suspect.key, mine, other))
        return seen, different, moving

    async def _with_events_behind(
        self, view: AsyncConnection, kind: Comparable, position: str, documents: Sequence[Document]
    ) -> set[tuple[str, str]]:
        """The aggregates that have events at or after the position."""
        customers = {key for document in documents for _, key in _customers(document)}
        ids = {str(document["owner"]) for document in documents} | customers
        about = {"position": position, "ids": list(ids), "aggregates": [kind.aggregate, Aggregate.CUSTOMER]}
        return {(row.aggregate, row.aggregate_id) for row in await view.execute(_EVENTS_BEHIND, about)}

    async def _has_passed(self, seen: str) -> bool:
        """Waits until the version's position has passed `seen`. False if that takes too long, for example because a
        transaction stays open."""
        while time.monotonic() < self._ends:
            async with self._read_model_view() as view:
                position = (await view.execute(self._of(_POSITION), {"shard": self._shard.name})).scalar_one_or_none()
            if position is not None and int(position) >= int(seen):
                return True
            await asyncio.sleep(POLL_SECONDS)
        return False

    async def _documents(self, view: AsyncConnection, rows: str, suspects: Sequence[_Suspect]) -> dict[str, Document]:
        about = {"owners": list({each.owner for each in suspects}), "keys": [each.key for each in suspects]}
        found = await view.execute(text(_DOCUMENTS.format(rows=rows)), {"shard": self._shard.name, **about})
        return {document["key"]: document for document in map(json.loads, found.scalars())}

    async def _parked(self, view: AsyncConnection) -> Sequence[Any]:
        return (await view.execute(self._of(_PARKED), {"shard": self._shard.name})).all()

    @asynccontextmanager
    async def _read_model_view(self) -> AsyncIterator[AsyncConnection]:
        async with self._read_model.snapshot() as view:
            await view.execute(_ALIKE)
            yield view

    @asynccontextmanager
    async def _shard_view(self) -> AsyncIterator[AsyncConnection]:
        async with self._shard.snapshot() as view:
            await view.execute(_ALIKE)
            yield view

    def _rows(self, kind: Comparable) -> str:
        return kind.of_version.replace("{s}", self._version.value)

    def _of(self, statement: str) -> TextClause:
        return text(statement.replace("{s}", self._version.value))


class _Stream:
    """One side's entries in order; `row` is None at the end."""

    def __init__(self, view: AsyncConnection, statement: TextClause, slices: Sequence[str], shard: str) -> None:
        self.row: Any = None
        self._view = view
        self._statement = statement
        self._about = {"slices": list(slices), "shard": shard}

    async def open(self) -> None:
        self._parts = (await self._view.stream(self._statement, self._about)).partitions(PART_ROWS)
        self._rows: Any = iter(())
        await self.advance()

    async def advance(self) -> None:
        self.row = next(self._rows, None)
        if self.row is None:
            async for part in self._parts:
                self._rows = iter(part)
                self.row = next(self._rows, None)
                break


def _customers(*documents: Document | None) -> set[tuple[str, str]]:
    """An order carries its customer's name, whose changes are the customer's events."""
    return {
        (Aggregate.CUSTOMER.value, document["customer_id"])
        for document in documents
        if document is not None and "customer_id" in document
    }
