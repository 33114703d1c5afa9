"""Compares the read model with the shards' tables by content: no row too many, missing or out of date.

A difference that an unprojected event explains is in flight, not a violation. See `shards.projection.comparing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.timestamps import timestamp
from shards.audit.findings import Check, Findings, Violation
from shards.audit.local.rules import Rule
from shards.connections.database import Database
from shards.outbox.cursors import trimmed_to
from shards.outbox.lag import lost_versions, positions_in
from shards.outbox.marks import HistoryLost
from shards.outbox.slice import BEGINNING
from shards.projection.comparing import Comparison, Difference
from shards.tables.versions import Version

_PARKED = """
    SELECT aggregate, aggregate_id, version, reason FROM {s}.parked_aggregate WHERE shard = :shard
    ORDER BY aggregate, aggregate_id
"""

# Rules within one version, in one snapshot: each derived value is written together with the rows that it is derived
# from.
_WITHIN = (
    Rule(
        "the statement of account {account_id} ends with {stated}, but its lines sum to {lines}",
        """
        SELECT a.id AS account_id, a.currency, a.stated AS stated_minor, coalesce(l.total, 0) AS lines_minor
        FROM {s}.account_details AS a
        LEFT JOIN (SELECT account_id, sum(amount) AS total FROM {s}.statement_line GROUP BY 1) AS l ON account_id = a.id
        WHERE a.stated <> coalesce(l.total, 0)
        """,
    ),
    Rule(
        "the read model has the {kind} of {saga_id} on account {account_id}, which it does not know",
        """
        SELECT account_id, kind, saga_id FROM {s}.statement_line AS l
        WHERE NOT EXISTS (SELECT FROM {s}.account_details WHERE id = account_id)
          AND NOT EXISTS (SELECT FROM {s}.parked_aggregate WHERE aggregate = 'account' AND aggregate_id = account_id)
        """,
    ),
    Rule(
        "the read model has item {n} of order {order_id}, which it does not know",
        """
        SELECT order_id, n, sku FROM {s}.order_item
        WHERE NOT EXISTS (SELECT FROM {s}.order_details WHERE id = order_id)
        """,
    ),
    Rule(
        "item {n} of order {order_id} calls {sku} {product_name}, but its name is {name}",
        """
        SELECT i.order_id, i.n, i.sku, coalesce(i.product_name, 'nothing') AS product_name,
               coalesce(p.name, 'not known') AS name
        FROM {s}.order_item AS i LEFT JOIN {s}.product AS p ON p.sku = i.sku
        WHERE i.product_name IS DISTINCT FROM p.name
        """,
    ),
    Rule(
        "sales of {sku} on {day} are recorded as {units} units for {amount} in {orders} orders, but {sold_units} units "
        "for {sold} in {sold_orders} orders were confirmed",
        """
        SELECT sku, CAST(day AS text) AS day, currency, coalesce(s.units, 0) AS units,
               coalesce(s.amount, 0) AS amount_minor, coalesce(s.orders, 0) AS orders,
               coalesce(o.units, 0) AS sold_units, coalesce(o.amount, 0) AS sold_minor,
               coalesce(o.orders, 0) AS sold_orders
        FROM {s}.sales AS s
        FULL JOIN (
            SELECT day, sku, currency, count(DISTINCT id) AS orders, sum(quantity) AS units,
                   sum(quantity * unit_price) AS amount
            FROM {s}.order_details JOIN {s}.order_item ON order_id = id WHERE state = 'confirmed' GROUP BY 1, 2, 3
        ) AS o USING (day, sku, currency)
        WHERE (s.orders, s.units, s.amount) IS DISTINCT FROM (o.orders, o.units, o.amount)
        """,
    ),
)


@dataclass(slots=True)
class Projected:
    """`moving`: how many rows could not be judged because of unprojected events. `wrong`: how many rows differ, by
    table. `has_begun` is False if the version has taken nothing of this shard yet; then nothing was compared."""

    has_begun: bool = True
    moving: int = 0
    wrong: Counter[str] = field(default_factory=Counter)


async def check_projected(
    shard: Database, read_model: Database, findings: Findings, version: Version = Version.LIVE
) -> Projected:
    """Adds the differences between one shard and a version of the read model. Changes nothing; memory is bounded.

    The databases must be without time limits.
    """
    async with read_model.snapshot() as view:
        standing = (await positions_in(view, shard.name)).get(version)
        position = standing.xid if standing is not None else None
        parked = await _parked(view, shard.name, version)
    async with shard.snapshot() as view:
        gone = await trimmed_to(view)
    if version in await lost_versions(shard, read_model):
        # Differences are reported all the same: rows that only the read model has are what was lost.
        about = {"version": version.value, "position": position}
        findings.add_violations(Check.READ_MODEL, [Violation(HistoryLost(shard.name).message, shard.name, about)])
    elif gone != BEGINNING and int(gone) >= int(position or BEGINNING):
        what = f"{shard.name} has trimmed events that the read model has not seen"
        findings.add_violations(
            Check.READ_MODEL, [Violation(what, shard.name, {"position": position, "trimmed": gone})]
        )
        return Projected()
    if position is None:
        return Projected(has_begun=False)
    findings.add_violations(Check.READ_MODEL, parked)
    comparison, projected = Comparison(shard, read_model, version), Projected()
    async with aclosing(comparison.differences()) as differences:
        async for difference in differences:
            findings.add_violations(Check.READ_MODEL, [_difference_violation(difference, shard.name)])
            projected.wrong[difference.kind.table] += 1
    findings.add_checked(Check.READ_MODEL, comparison.compared.rows)
    projected.moving = comparison.compared.moving
    return projected


async def check_version(read_model: Database, findings: Findings, version: Version = Version.LIVE) -> None:
    """Adds violations within one version of the read model: wrong sums, and wrong names in rows that carry them."""
    async with read_model.snapshot() as view:
        for rule in _WITHIN:
            of_version = Rule(rule.what, rule.query.replace("{s}", version.value))
            violations, count = await of_version.broken_by(view, read_model.name)
            findings.add_violations(Check.READ_MODEL, violations, not_shown=count - len(violations))


async def _parked(view: AsyncConnection, shard: str, version: Version) -> Sequence[Violation]:
    found = []
    for row in await view.execute(_of(_PARKED, version), {"shard": shard}):
        what = f"{row.aggregate} {row.aggregate_id} could not be projected at version {row.version}: {row.reason}"
        about = {"aggregate": row.aggregate, "id": row.aggregate_id, "version": row.version}
        found.append(Violation(what, shard, about))
    return found


def _difference_violation(difference: Difference, shard: str) -> Violation:
    name, ours, theirs = f"{difference.kind.name} {difference.key}", difference.of_shard, difference.of_version
    row: dict[str, object] = {"kind": difference.kind.name, "key": difference.key}
    if ours is None or theirs is None:
        row["row"] = {field: _written(field, value) for field, value in (ours or theirs or {}).items()}
    else:
        row["fields"] = {
            field: {"write_model": _written(field, ours_has), "read_model": _written(field, theirs_has)}
            for field, (ours_has, theirs_has) in difference.fields.items()
        }
    if theirs is None:
        what = f"{name} is missing in the read model"
    elif ours is None:
        what = f"the read model has {name}, which {shard} does not have"
    elif theirs["version"] < ours["version"]:
        what = (
            f"{name} is at version {ours['version']}, which the cursor has passed, but the read model has version "
            f"{theirs['version']}"
        )
    else:
        fields = "; ".join(
            f"{field} is {_written(field, has)}, not {_written(field, other)}"
            for field, (has, other) in difference.fields.items()
        )
        what = f"the read model has {name} wrong: {fields}"
    return Violation(what, shard, row)


def _written(field: str, value: object) -> object:
    """Times in the usual format: in the JSON documents they are written as Postgres does."""
    if isinstance(value, str) and (field == "at" or field.endswith("_at")):
        return timestamp(datetime.fromisoformat(value))
    return value


def _of(statement: str, version: Version) -> TextClause:
    return text(statement.replace("{s}", version.value))
