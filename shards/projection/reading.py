"""Reads the present rows of a shard's aggregates as documents, which `writing` passes on unchanged.

Documents are JSON texts, built by the shard's server and parsed by the read model's: no row is handled in Python.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.events import PROJECTED, Aggregate
from domain.limits import IDENTIFIER_CHARS_MAX
from shards.outbox.parked_keys import is_too_long, parked_key
from shards.outbox.slice import WITHIN, Slice
from shards.routing.bulk_transaction import array_literal, bigint_array, text_array

# Queries for the documents of all aggregates of a shard; callers restrict them by `key`.
DOCUMENTS: Mapping[Aggregate, str] = {
    Aggregate.PRODUCT: """
        SELECT sku AS key, version, sku, name, currency, unit_price FROM product
    """,
    Aggregate.STOCK: """
        SELECT sku AS key, version, sku, on_hand, reserved FROM stock
    """,
    Aggregate.CUSTOMER: """
        SELECT id AS key, version, id, name, email, address, city, postal_code, country, settings FROM customer
    """,
    Aggregate.ACCOUNT: """
        SELECT id AS key, version, id, kind, currency, posted, held, overdraft, state
        FROM account WHERE kind IN ('customer', 'merchant')
    """,
    Aggregate.ORDER: """
        SELECT o.id AS key, o.version, o.id, o.customer_id, c.name AS customer_name, c.email AS customer_email,
               CASE WHEN o.choreography IS NULL THEN 'orchestrated' ELSE 'choreographed' END AS style,
               o.currency, o.total, o.state, o.reason, o.detail, o.ship_to,
               coalesce(o.ordered_on, CAST(o.placed_at AT TIME ZONE 'UTC' AS date)) AS day,
               o.placed_at, o.decided_at, o.closed_at,
               (SELECT json_agg(json_build_object('n', n, 'sku', sku, 'quantity', quantity, 'unit_price', unit_price))
                FROM order_line WHERE order_id = o.id) AS items
        FROM orders AS o JOIN customer AS c ON c.id = o.customer_id
    """,
}
LINE_DOCUMENTS = """
    SELECT e.account_id, m.saga_id, m.kind, m.id AS position, m.created_at AS at, e.amount,
           coalesce(leg.peer, other.account_id) AS other_side
    FROM {movements} AS m
    JOIN entry AS e ON e.movement_id = m.id
    JOIN account AS a ON a.id = e.account_id AND a.kind IN ('customer', 'merchant')
    JOIN entry AS other ON other.movement_id = m.id AND other.n <> e.n
    LEFT JOIN clearing_leg AS leg ON leg.movement_id = m.id
"""

_TOUCHED = text(f"""
    SELECT aggregate, CAST(sum(n) AS bigint) AS events, array_agg(key) AS keys, array_agg(version) AS versions
    FROM (SELECT aggregate, aggregate_id AS key, max(aggregate_version) AS version, count(*) AS n
          FROM outbox WHERE {WITHIN} GROUP BY 1, 2) AS changed
    GROUP BY aggregate
""")


def _read_named(documents: str) -> TextClause:
    """`docs` holds the documents that were found; `unfit` the keys whose row is missing or older than their event says,
    and `found` the version of each such row, NULL if there is none."""
    return text(f"""
        WITH chosen AS MATERIALIZED (
            SELECT key, wanted FROM unnest({text_array("keys")}, {bigint_array("versions")}) AS c (key, wanted)
        ), found AS MATERIALIZED (SELECT d.* FROM ({documents}) AS d JOIN chosen USING (key)),
        unfit AS (
            SELECT chosen.key, found.version FROM chosen LEFT JOIN found USING (key)
            WHERE found.version IS NULL OR found.version < chosen.wanted
        )
        SELECT (SELECT CAST(json_agg(found) AS text) FROM found) AS docs,
               (SELECT array_agg(key ORDER BY key) FROM unfit) AS unfit,
               (SELECT array_agg(version ORDER BY key) FROM unfit) AS found
    """)


_NAMED = {aggregate: _read_named(documents) for aggregate, documents in DOCUMENTS.items()}


def _read_lines(movements: str) -> TextClause:
    return text(f"""
        SELECT CAST(json_agg(line) AS text) FROM (
            SELECT * FROM ({LINE_DOCUMENTS.format(movements=f"({movements})")}) AS of_both
            WHERE account_id = ANY({text_array("keys")})
        ) AS line
    """)


_LINES_WITHIN = _read_lines(f"SELECT * FROM movement WHERE {WITHIN}")
_ALL_LINES = _read_lines(f"""
    SELECT * FROM movement WHERE id IN (SELECT movement_id FROM entry WHERE account_id = ANY({text_array("keys")}))
""")


@dataclass(frozen=True, slots=True)
class Unfit:
    """An aggregate that cannot be projected, with its event's version. `aggregate` may be a name that this release does
    not know."""

    aggregate: str
    key: str
    version: int
    reason: str


@dataclass(slots=True)
class Touched:
    """The aggregates that the events of a slice are about: by kind and key, the newest version in the events."""

    events: int = 0
    versions: dict[Aggregate, dict[str, int]] = field(default_factory=dict)
    unfit: list[Unfit] = field(default_factory=list)

    @property
    def in_order(self) -> Iterator[tuple[Aggregate, dict[str, int]]]:
        """In the order in which they are to be written."""
        return ((aggregate, self.versions[aggregate]) for aggregate in PROJECTED if aggregate in self.versions)


@dataclass(slots=True)
class Documents:
    """Documents of one kind of aggregate. `rows` and `lines` are JSON lists as text; None if empty."""

    rows: str | None = None
    lines: str | None = None
    unfit: list[Unfit] = field(default_factory=list)


async def read_touched(snapshot: AsyncConnection, slice_: Slice) -> Touched:
    """The aggregates of a slice. Changes nothing. Keys too long for any row are unfit, under a shortened key."""
    touched = Touched()
    for row in (await snapshot.execute(_TOUCHED, slice_.bound)).all():
        touched.events += row.events
        versions = dict(zip(row.keys, row.versions, strict=True))
        name = parked_key(row.aggregate)
        if row.aggregate in PROJECTED:
            for key in [key for key in versions if is_too_long(key)]:
                reason = f"no id has {len(key)} characters: at most {IDENTIFIER_CHARS_MAX}"
                touched.unfit.append(Unfit(name, parked_key(key), versions.pop(key), reason))
            if versions:
                touched.versions[Aggregate(row.aggregate)] = versions
        elif row.aggregate not in list(Aggregate):
            reason = f"no aggregate of this release is called {name}"
            touched.unfit += [Unfit(name, parked_key(key), version, reason) for key, version in versions.items()]
    return touched


@dataclass(frozen=True, slots=True)
class Lines:
    """Which statement lines are read with an account: see `lines_within` and `ALL_LINES`."""

    statement: TextClause
    bound: Mapping[str, object] = field(default_factory=dict)


ALL_LINES = Lines(_ALL_LINES)


def lines_within(slice_: Slice) -> Lines:
    """The lines of movements in the slice's transactions."""
    return Lines(_LINES_WITHIN, slice_.bound)


async def read_documents(
    snapshot: AsyncConnection, aggregate: Aggregate, versions: Mapping[str, int], lines: Lines | None
) -> Documents:
    """These aggregates as of this snapshot. One whose row is missing or older than the given version is unfit. Accounts
    come with `lines`; None: without. Changes nothing."""
    keys = array_literal(versions)
    row = (
        await snapshot.execute(_NAMED[aggregate], {"keys": keys, "versions": array_literal(versions.values())})
    ).one()
    documents = Documents(row.docs)
    for key, found in zip(row.unfit or (), row.found or (), strict=True):
        has = "there is no such row" if found is None else f"its row is of version {found}"
        reason = f"an event is of version {versions[key]}, but {has}"
        documents.unfit.append(Unfit(aggregate, key, versions[key], reason))
    if aggregate is Aggregate.ACCOUNT and lines is not None:
        documents.lines = (await snapshot.execute(lines.statement, {**lines.bound, "keys": keys})).scalar_one()
    return documents
