"""The columns in which a shard and a version of the read model must agree, with the same names and types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.events import Aggregate
from shards.projection.reading import DOCUMENTS, LINE_DOCUMENTS


@dataclass(frozen=True, slots=True)
class Comparable:
    """Rows of one kind. The query of each side returns the row's `key`, its `owner` (the aggregate whose events
    announce its changes), that aggregate's `version` if the row carries it (else 0), and the columns.

    `of_version` contains `{s}` for the version's schema and binds `shard`.
    """

    name: str
    table: str
    aggregate: Aggregate
    of_shard: str
    of_version: str


def _aggregates(name: str, table: str, aggregate: Aggregate, key: str, columns: str) -> Comparable:
    of_shard = f"SELECT key, key AS owner, version, {columns} FROM ({DOCUMENTS[aggregate]}) AS d"
    of_version = f"SELECT {key} AS key, {key} AS owner, version, {columns} FROM {{s}}.{table} WHERE shard = :shard"
    return Comparable(name, table, aggregate, of_shard, of_version)


_ORDER = """
    customer_id, customer_name, customer_email, style, currency, total, state, reason, detail, ship_to, day, placed_at,
    decided_at, closed_at
"""
_LINE = """
    SELECT account_id || '/' || kind || '/' || saga_id AS key, account_id AS owner, 0 AS version,
           position, at, amount, other_side
    FROM {lines}
"""
_ITEM = """
    SELECT order_id || '/' || n AS key, order_id AS owner, 0 AS version, sku, quantity, unit_price FROM {items}
"""

COMPARABLES: Sequence[Comparable] = (
    _aggregates("product", "product", Aggregate.PRODUCT, "sku", "name, currency, unit_price"),
    _aggregates("stock", "stock_level", Aggregate.STOCK, "sku", "on_hand, reserved"),
    _aggregates(
        "customer",
        "customer",
        Aggregate.CUSTOMER,
        "id",
        "name, email, address, city, postal_code, country, settings",
    ),
    _aggregates(
        "account", "account_details", Aggregate.ACCOUNT, "id", "kind, currency, posted, held, overdraft, state"
    ),
    Comparable(
        "statement line",
        "statement_line",
        Aggregate.ACCOUNT,
        _LINE.format(lines=f"({LINE_DOCUMENTS.format(movements='movement')}) AS line"),
        _LINE.format(
            lines="""{s}.statement_line AS line
            WHERE EXISTS (SELECT FROM {s}.account_details WHERE id = account_id AND shard = :shard)"""
        ),
    ),
    _aggregates("order", "order_details", Aggregate.ORDER, "id", _ORDER),
    Comparable(
        "order item",
        "order_item",
        Aggregate.ORDER,
        _ITEM.format(items="order_line WHERE EXISTS (SELECT FROM orders WHERE id = order_id)"),
        _ITEM.format(
            items="""{s}.order_item
            WHERE EXISTS (SELECT FROM {s}.order_details WHERE id = order_id AND shard = :shard)"""
        ),
    ),
)
