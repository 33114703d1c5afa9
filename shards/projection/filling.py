"""A shard's tables into the version `next`, chunk by chunk, while orders go on.

The shard's position in `next` is taken before anything is read: whatever commits behind it is told by events, which the
relay follows at the same time. What the two write is the same, and the newest of it stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.events import Aggregate
from shards.connections.database import Database
from shards.outbox.cursors import RebuildNeeded, assert_untrimmed
from shards.outbox.marks import HistoryLost, read_mark, renew_mark
from shards.projection.projector import Chunk, Projector
from shards.projection.reading import DOCUMENTS, LINE_DOCUMENTS
from shards.projection.switching import assert_is_next
from shards.routing.shard_transaction import translating_errors
from shards.tables.versions import Version

# A chunk is read, carried over and written within the time limits of a transaction, on a busy machine too.
CHUNK_ROWS = 2000

_NEXT = Version.NEXT.value


class Part(StrEnum):
    """What is filled, in this order: names before what carries them, accounts before their lines."""

    PRODUCTS = "products"
    STOCK = "stock"
    CUSTOMERS = "customers"
    ACCOUNTS = "accounts"
    MOVEMENTS = "movements"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a part by a key that orders them; `beginning` lies before the first. Movements have no aggregate:
    their lines are filled, so that an account with any number of them is filled as others are."""

    aggregate: Aggregate | None
    rows: str
    key: str
    beginning: str = ""

    @property
    def chunk(self) -> TextClause:
        """`docs` of the next rows behind `after`, the `last` of them, and how many `rows` these were."""
        if self.aggregate is None:
            found = LINE_DOCUMENTS.format(movements="chosen")
        else:
            found = f"SELECT d.* FROM ({DOCUMENTS[self.aggregate]}) AS d JOIN chosen USING (key)"
        return self._of_chosen(f"(SELECT CAST(json_agg(found) AS text) FROM ({found}) AS found) AS docs")

    @property
    def keys(self) -> TextClause:
        """The same, with the rows' `keys` alone."""
        return self._of_chosen("(SELECT array_agg(key ORDER BY key) FROM chosen) AS keys")

    def _of_chosen(self, what: str) -> TextClause:
        rows = (
            "SELECT *, id AS key FROM movement"
            if self.aggregate is None
            else f"SELECT {self.key} AS key FROM {self.rows}"
        )
        kind = "bigint" if self.aggregate is None else "text"
        return text(f"""
            WITH chosen AS MATERIALIZED (
                SELECT * FROM ({rows}) AS ordered WHERE key > CAST(CAST(:after AS text) AS {kind})
                ORDER BY key LIMIT :rows
            )
            SELECT {what}, (SELECT CAST(max(key) AS text) FROM chosen) AS last, (SELECT count(*) FROM chosen) AS rows
        """)


SOURCES: Mapping[Part, Source] = {
    Part.PRODUCTS: Source(Aggregate.PRODUCT, "product", "sku"),
    Part.STOCK: Source(Aggregate.STOCK, "stock", "sku"),
    Part.CUSTOMERS: Source(Aggregate.CUSTOMER, "customer", "id"),
    Part.ACCOUNTS: Source(Aggregate.ACCOUNT, "account WHERE kind IN ('customer', 'merchant')", "id"),
    Part.MOVEMENTS: Source(None, "movement", "id", "0"),
    Part.ORDERS: Source(Aggregate.ORDER, "orders", "id"),
}
_CHUNKS = {part: source.chunk for part, source in SOURCES.items()}
_KEYS = {part: source.keys for part, source in SOURCES.items()}

_HORIZON = text("SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)")
# Beyond that of every version that there ever was beside this one, and the same for all its shards: writers that have
# waited through a switch are told by it, and names are locked by it.
_OPEN = text(f"""
    INSERT INTO {_NEXT}.projection_cursor (shard, generation, xid)
    SELECT :shard, coalesce((SELECT max(generation) FROM {_NEXT}.projection_cursor),
                            greatest((SELECT max(generation) FROM live.projection_cursor), 1) + 1), '0'
    ON CONFLICT DO NOTHING RETURNING true
""")
_CURSOR = text(f"""
    SELECT CAST(xid AS text) AS position, reader, mark FROM {_NEXT}.projection_cursor WHERE shard = :shard FOR UPDATE
""")
_START_AT = text(f"""
    UPDATE {_NEXT}.projection_cursor SET xid = CAST(CAST(:position AS text) AS xid8), mark = :mark WHERE shard = :shard
""")
_FORGET = text(f"DELETE FROM {_NEXT}.fill_progress WHERE shard = :shard")
_PROGRESS = text(f"SELECT part, after, done FROM {_NEXT}.fill_progress WHERE shard = :shard")
_NOTE = text(f"""
    INSERT INTO {_NEXT}.fill_progress AS p (shard, part, after, rows, done)
    VALUES (:shard, :part, :after, :rows, :done)
    ON CONFLICT (shard, part) DO UPDATE SET after = excluded.after, rows = p.rows + excluded.rows, done = excluded.done
""")
_FILLED = text(f"SELECT shard, part, rows FROM {_NEXT}.fill_progress")
_COUNT = text(
    "SELECT " + ", ".join(f"(SELECT count(*) FROM {source.rows}) AS {part}" for part, source in SOURCES.items())
)


class Filling:
    """Of one shard. Killed at any point, another one goes on behind the last chunk."""

    def __init__(self, shard: Database, read_model: Database, rebuild_id: str, chunk_rows: int = CHUNK_ROWS) -> None:
        self._shard = shard
        self._read_model = read_model
        self._rebuild_id = rebuild_id
        self._chunk_rows = chunk_rows
        self._projector = Projector(shard, read_model)

    async def begin(self) -> None:
        """Takes the shard's position. Idempotent. Raises `Superseded`, and `HistoryLost` where the shard was restored
        since it was taken: rows of the other history may be filled already.

        Nothing behind a position that the trimmer sees is trimmed. What it trimmed before it saw this one, perhaps, is
        not told by events any more: then there is a new position, and all is filled again, which changes only what is
        newer.
        """
        shard = {"shard": self._shard.name}
        with translating_errors(self._shard.name):
            async with self._read_model.transaction() as to:
                await assert_is_next(to, self._rebuild_id)
                opened = (await to.execute(_OPEN, shard)).one_or_none() is not None
                cursor = (await to.execute(_CURSOR, shard)).one()
                async with self._shard.snapshot() as snapshot:
                    horizon = (await snapshot.execute(_HORIZON)).scalar_one()
                    marked = await read_mark(snapshot, cursor.reader)
                    if not marked.vouches_for(cursor.mark):
                        raise HistoryLost(self._shard.name)
                    if not opened and await self._has_events_from(snapshot, cursor.position):
                        return
                async with self._shard.transaction() as connection:
                    mark = await renew_mark(connection, cursor.reader, marked, cursor.mark)
                await to.execute(_START_AT, {**shard, "position": horizon, "mark": mark})
                await to.execute(_FORGET, shard)

    async def _has_events_from(self, snapshot: AsyncConnection, position: str) -> bool:
        try:
            await assert_untrimmed(snapshot, position, self._shard.name)
        except RebuildNeeded:
            return False
        return True

    async def step(self) -> bool:
        """The next chunk, as a whole or not at all. False where all is filled. Raises errors of ours."""
        return await self._projector.write_chunk(Version.NEXT, self._next_chunk)

    async def _next_chunk(self, to: AsyncConnection, snapshot: AsyncConnection, isolate: bool) -> Chunk | None:
        progress = {row.part: row for row in await to.execute(_PROGRESS, {"shard": self._shard.name})}
        part = next((each for each in Part if each not in progress or not progress[each].done), None)
        if part is None:
            return None
        source = SOURCES[part]
        after = progress[part].after if part in progress else source.beginning
        chosen = {"after": after, "rows": self._chunk_rows}
        if isolate and source.aggregate is not None:
            found = (await snapshot.execute(_KEYS[part], chosen)).one()
            chunk = Chunk(source.aggregate, keys=found.keys or [])
        else:
            found = (await snapshot.execute(_CHUNKS[part], chosen)).one()
            chunk = Chunk(lines=found.docs) if source.aggregate is None else Chunk(source.aggregate, rows=found.docs)
        await to.execute(
            _NOTE,
            {
                "shard": self._shard.name,
                "part": part,
                "after": found.last or after,
                "rows": found.rows,
                "done": found.rows < self._chunk_rows,
            },
        )
        return chunk

    async def follow(self) -> bool:
        """One batch of the events that came meanwhile, as the relay takes them too. False where none are left.

        `RebuildNeeded` where some were trimmed before the position was seen: then `begin` begins again.
        """
        return (await self._projector.project(Version.NEXT)).events > 0


@dataclass(frozen=True, slots=True)
class Rows:
    """Of one shard and part."""

    shard: str
    part: str
    rows: int


async def filled(read_model: Database) -> Sequence[Rows]:
    """How far `next` is filled; nothing where there is none. Only reads."""
    async with read_model.transaction() as connection:
        exists = (
            await connection.execute(text("SELECT to_regclass(:name)"), {"name": f"{_NEXT}.fill_progress"})
        ).scalar()
        return [Rows(*row) for row in await connection.execute(_FILLED)] if exists is not None else []


async def to_fill(shard: Database) -> Sequence[Rows]:
    """What there is to fill from now. Only reads; in large tables that takes a while."""
    async with shard.snapshot() as snapshot:
        counts = (await snapshot.execute(_COUNT)).one()
        return [Rows(shard.name, part.value, rows) for part, rows in zip(Part, counts, strict=True)]
