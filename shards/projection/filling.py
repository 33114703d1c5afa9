"""Fills the version `next` from a shard's tables, chunk by chunk, while orders go on.

The shard's position in `next` is fixed before anything is read. Everything that commits later is announced by events,
which the relay projects at the same time. Both write the same kind of rows, and the newest version of each row stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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

# Small enough to be read and written within the time limits of a transaction, even on a busy machine.
CHUNK_ROWS = 2000

_NEXT = Version.NEXT.value


class Part(StrEnum):
    """The parts in the order in which they are filled: names before rows that carry them, accounts before their
    lines."""

    PRODUCTS = "products"
    STOCK = "stock"
    CUSTOMERS = "customers"
    ACCOUNTS = "accounts"
    MOVEMENTS = "movements"
    ORDERS = "orders"


@dataclass(frozen=True, slots=True)
class Source:
    """The rows of a part, ordered by a key; `beginning` sorts before the first one. Movements have no aggregate: their
    lines are a part of their own, so that an account is filled in chunks, however many lines it has."""

    aggregate: Aggregate | None
    rows: str
    key: str
    beginning: str = ""

    @property
    def chunk(self) -> TextClause:
        """A query for the `docs` of the next rows after `after`, the `last` key, and the number of `rows`."""
        if self.aggregate is None:
            found = LINE_DOCUMENTS.format(movements="chosen")
        else:
            found = f"SELECT d.* FROM ({DOCUMENTS[self.aggregate]}) AS d JOIN chosen USING (key)"
        return self._of_chosen(f"(SELECT CAST(json_agg(found) AS text) FROM ({found}) AS found) AS docs")

    @property
    def keys(self) -> TextClause:
        """The same, but with the `keys` of the rows instead of `docs`."""
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
# A generation higher than any other version's, and the same for all shards of this one: it shows a writer that waited
# through a switch that its version is another now, and it is the key of the names' lock.
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
    UPDATE {_NEXT}.projection_cursor
    SET xid = CAST(CAST(:position AS text) AS xid8), mark = :mark, lsn = :lsn,
        forks = CAST(CAST(:forks AS text) AS jsonb)
    WHERE shard = :shard
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
    """Fills `next` from one shard. If it is killed, another one goes on after the last chunk."""

    def __init__(self, shard: Database, read_model: Database, rebuild_id: str, chunk_rows: int = CHUNK_ROWS) -> None:
        self._shard = shard
        self._read_model = read_model
        self._rebuild_id = rebuild_id
        self._chunk_rows = chunk_rows
        self._projector = Projector(shard, read_model)

    async def begin(self) -> None:
        """Fixes the shard's position. Idempotent. Raises `Superseded`, and `HistoryLost` if the shard was restored
        since the position was fixed: rows of the other history may be filled already.

        The trimmer keeps events after every position that it sees, but may have trimmed some before it saw this one.
        Then a new position is fixed and everything is filled again, which only changes rows that are newer.
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
                    vouched = await renew_mark(connection, cursor.reader, marked, cursor.mark)
                await to.execute(_START_AT, {**shard, "position": horizon, **asdict(vouched)})
                await to.execute(_FORGET, shard)

    async def _has_events_from(self, snapshot: AsyncConnection, position: str) -> bool:
        try:
            await assert_untrimmed(snapshot, position, self._shard.name)
        except RebuildNeeded:
            return False
        return True

    async def step(self) -> bool:
        """Fills the next chunk, as a whole or not at all. False if everything is filled. Raises only errors of ours:
        `Superseded` too, so that a worker that was stopped meanwhile fills nothing of another rebuild."""
        return await self._projector.write_chunk(Version.NEXT, self._next_chunk)

    async def _next_chunk(self, to: AsyncConnection, snapshot: AsyncConnection, isolate: bool) -> Chunk | None:
        # Under the cursor's lock, which whoever drops this version needs.
        await assert_is_next(to, self._rebuild_id)
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
        """Projects one batch of the events since the position, as the relay does too. False if none are left.

        `RebuildNeeded` if some were trimmed before the trimmer saw the position: then call `begin` again.
        """
        return (await self._projector.project(Version.NEXT)).events > 0


@dataclass(frozen=True, slots=True)
class Rows:
    """How many rows of one part of a shard."""

    shard: str
    part: str
    rows: int


async def filled(read_model: Database) -> Sequence[Rows]:
    """How far `next` is filled; empty if there is no `next`. Only reads."""
    async with read_model.transaction() as connection:
        exists = (
            await connection.execute(text("SELECT to_regclass(:name)"), {"name": f"{_NEXT}.fill_progress"})
        ).scalar()
        return [Rows(*row) for row in await connection.execute(_FILLED)] if exists is not None else []


async def to_fill(shard: Database) -> Sequence[Rows]:
    """How many rows there are to fill now. Only reads; in large tables that takes a while."""
    async with shard.snapshot() as snapshot:
        counts = (await snapshot.execute(_COUNT)).one()
        return [Rows(shard.name, part.value, rows) for part, rows in zip(Part, counts, strict=True)]
