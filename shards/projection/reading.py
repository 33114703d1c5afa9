"""What aggregates of one shard have become, as documents that one version's writing takes as they are.

Documents are JSON texts made by the shard and taken apart by the read model's server: nothing here looks at a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shards.bulk import listed
from shards.outbox_stretch import WITHIN, Stretch


class Aggregate(StrEnum):
    """What the read model keeps a row of, by the name that its events carry. In the order of writing: names before
    what carries them, accounts before their lines."""

    PRODUCT = "product"
    STOCK = "stock"
    CUSTOMER = "customer"
    ACCOUNT = "account"
    ORDER = "order"


# Known, and of no interest to the read model.
IGNORED = frozenset({"transfer"})

# Documents of all that a shard has, to be narrowed by their `key`.
DOCUMENTS: Mapping[Aggregate, str] = {
    Aggregate.PRODUCT: """
        SELECT sku AS key, version, sku, name, currency, unit_price FROM product
    """,
    Aggregate.STOCK: """
        SELECT sku AS key, version, sku, on_hand, reserved FROM stock
    """,
    Aggregate.CUSTOMER: """
        SELECT id AS key, version, id, name, email FROM customer
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
    SELECT aggregate, CAST(sum(n) AS bigint) AS events,
           array_agg(key) FILTER (WHERE aggregate <> ALL (:ignored)) AS keys,
           array_agg(version) FILTER (WHERE aggregate <> ALL (:ignored)) AS versions
    FROM (SELECT aggregate, aggregate_id AS key, max(aggregate_version) AS version, count(*) AS n
          FROM outbox WHERE {WITHIN} GROUP BY 1, 2) AS changed
    GROUP BY aggregate
""")


def _read_named(documents: str) -> TextClause:
    """`docs`: those that are there and at least of the version that their event tells; `strange`: the others' keys."""
    return text(f"""
        WITH chosen AS MATERIALIZED (
            SELECT key, wanted FROM unnest(string_to_array(:keys, ' '),
                CAST(string_to_array(:versions, ' ') AS bigint[])) AS c (key, wanted)
        ), found AS MATERIALIZED (SELECT d.* FROM ({documents}) AS d JOIN chosen USING (key))
        SELECT (SELECT CAST(json_agg(found) AS text) FROM found) AS docs,
               (SELECT array_agg(chosen.key || ' ' || coalesce(CAST(found.version AS text), '-'))
                FROM chosen LEFT JOIN found USING (key)
                WHERE found.version IS NULL OR found.version < chosen.wanted) AS strange
    """)


_NAMED = {aggregate: _read_named(documents) for aggregate, documents in DOCUMENTS.items()}
_LINES = text(f"""
    SELECT CAST(json_agg(line) AS text) FROM (
        {LINE_DOCUMENTS.format(movements=f"(SELECT * FROM movement WHERE {WITHIN})")}
    ) AS line
""")


@dataclass(frozen=True, slots=True)
class Strange:
    """An aggregate whose row does not fit its event, or that nobody here knows."""

    aggregate: str
    key: str
    version: int
    reason: str


@dataclass(slots=True)
class Batch:
    """What to write. `documents` and `lines` are JSON texts of lists; absent where there is nothing."""

    events: int = 0
    documents: dict[Aggregate, str] = field(default_factory=dict)
    lines: str | None = None
    strange: list[Strange] = field(default_factory=list)
    # What is in `documents`, by key, with the version that its event told.
    touched: dict[Aggregate, dict[str, int]] = field(default_factory=dict)


async def read_stretch(snapshot: AsyncConnection, stretch: Stretch) -> Batch:
    """Everything that the stretch's events are about, as it is in this snapshot: at least of the events' versions."""
    batch = Batch()
    for row in (await snapshot.execute(_TOUCHED, {**stretch.bound, "ignored": list(IGNORED)})).all():
        batch.events += row.events
        if row.aggregate not in IGNORED:
            await _read_touched(snapshot, batch, row.aggregate, row.keys, row.versions)
    if Aggregate.ACCOUNT in batch.touched:
        batch.lines = (await snapshot.execute(_LINES, stretch.bound)).scalar_one()
    return batch


async def _read_touched(
    snapshot: AsyncConnection, batch: Batch, name: str, keys: Sequence[str], versions: Sequence[int]
) -> None:
    if name not in list(Aggregate):
        reason = f"no aggregate of this release is called {name}"
        batch.strange += [Strange(name, key, version, reason) for key, version in zip(keys, versions, strict=True)]
        return
    aggregate = Aggregate(name)
    await read_aggregates(snapshot, batch, aggregate, dict(zip(keys, versions, strict=True)))


async def read_aggregates(
    snapshot: AsyncConnection, batch: Batch, aggregate: Aggregate, versions: Mapping[str, int]
) -> None:
    """Adds these aggregates to the batch, each at least of its version, or says that it is strange."""
    found = (
        await snapshot.execute(_NAMED[aggregate], {"keys": listed(versions), "versions": listed(versions.values())})
    ).one()
    batch.touched[aggregate] = dict(versions)
    if found.docs is not None:
        batch.documents[aggregate] = found.docs
    for each in found.strange or ():
        key, _, version = each.rpartition(" ")
        has = "there is no such row" if version == "-" else f"its row is of version {version}"
        told = versions[key]
        batch.strange.append(Strange(aggregate, key, told, f"an event tells of version {told}, but {has}"))
