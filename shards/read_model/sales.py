"""Sales reports: confirmed orders by product, by day, or by both. Currencies are never added up, and what
`shardwise contrast` sold to itself is left out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import InvalidInput
from domain.identifiers import check_identifier
from domain.money import Amount, Money
from domain.periods import parse_day
from shards.read_model.left_out import not_of_contrast


class SalesBy(StrEnum):
    PRODUCT = "product"
    DAY = "day"
    PRODUCT_DAY = "product-day"


_GROUPS = {SalesBy.PRODUCT: "sku", SalesBy.DAY: "day", SalesBy.PRODUCT_DAY: "day, sku"}
# Sums first, then names for the few rows that remain.
_REPORT = """
    SELECT {columns}, currency, orders, units, amount{name}
    FROM (
        SELECT {columns}, currency, CAST(sum(orders) AS bigint) AS orders, CAST(sum(units) AS bigint) AS units,
               CAST(sum(amount) AS bigint) AS amount
        FROM live.sales WHERE {conditions} AND {product_not_of_contrast} GROUP BY {columns}, currency
    ) AS sold {names}
    ORDER BY {columns}, currency
"""
_NAME = ", coalesce(product.name, sku) AS product_name"
_NAMES = "LEFT JOIN (SELECT sku, name FROM live.product) AS product USING (sku)"
# An order of several products counts once for each product, but only once for its day.
_REPORT_DAYS = """
    SELECT day, currency, coalesce(counted.orders, 0) AS orders, sold.units, sold.amount
    FROM (
        SELECT day, currency, CAST(sum(units) AS bigint) AS units, CAST(sum(amount) AS bigint) AS amount
        FROM live.sales WHERE {conditions} AND {product_not_of_contrast} GROUP BY day, currency
    ) AS sold
    LEFT JOIN (
        SELECT day, currency, count(*) AS orders
        FROM live.order_details WHERE state = 'confirmed' AND {conditions} AND {order_not_of_contrast}
        GROUP BY day, currency
    ) AS counted USING (day, currency)
    ORDER BY day, currency
"""
_NOT_OF_CONTRAST = {
    "product_not_of_contrast": not_of_contrast("sku"),
    "order_not_of_contrast": not_of_contrast("id"),
}
_CONDITIONS = {"first_day": "day >= :first_day", "last_day": "day <= :last_day", "sku": "sku = :sku"}


@dataclass(frozen=True, slots=True)
class SalesFilter:
    """None means any. Both days are included."""

    first_day: date | None = None
    last_day: date | None = None
    sku: str | None = None


@dataclass(frozen=True, slots=True)
class Sales:
    """`day`, `sku` and `product_name` are None if summed over. `orders`: how many orders contributed."""

    day: date | None
    sku: str | None
    product_name: str | None
    orders: int
    units: int
    amount: Amount
    currency: str


async def report_sales(connection: AsyncConnection, wanted: SalesFilter, by: SalesBy) -> list[Sales]:
    """Ordered by the columns that it is grouped by. A product without a name yet is shown by its SKU."""
    given = {name: getattr(wanted, name) for name in _CONDITIONS}
    conditions = " AND ".join(sql for name, sql in _CONDITIONS.items() if given[name] is not None) or "true"
    found = (await connection.execute(text(_statement(by, conditions, wanted.sku)), given)).mappings()
    return [
        Sales(
            row.get("day"),
            row.get("sku"),
            row.get("product_name"),
            row["orders"],
            row["units"],
            Money(row["amount"], row["currency"]),
            row["currency"],
        )
        for row in found
    ]


def _statement(by: SalesBy, conditions: str, sku: str | None) -> str:
    if by is SalesBy.DAY and sku is None:
        return _REPORT_DAYS.format(conditions=conditions, **_NOT_OF_CONTRAST)
    name, names = ("", "") if by is SalesBy.DAY else (_NAME, _NAMES)
    return _REPORT.format(columns=_GROUPS[by], conditions=conditions, name=name, names=names, **_NOT_OF_CONTRAST)


def sales_filter(first_day: str | None, last_day: str | None, sku: str | None) -> SalesFilter:
    """The filter for arguments as a person writes them. `InvalidInput` names a wrong one."""
    first = parse_day(first_day, "from") if first_day is not None else None
    last = parse_day(last_day, "to") if last_day is not None else None
    if first is not None and last is not None and last < first:
        raise InvalidInput("to", f"to: expected no day before {first}, got {last}")
    return SalesFilter(first, last, check_identifier(sku, "sku") if sku is not None else None)
