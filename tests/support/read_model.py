"""Rows of the read model, written as its projection would leave them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import insert, text

from shards.connections.database import Database
from shards.tables import read_model as tables

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

Row = dict[str, Any]


def order(order_id: str, **other: Any) -> Row:
    """A confirmed one of ada's, placed at `T0`."""
    return {
        "id": order_id,
        "shard": "shard-1",
        "customer_id": "ada",
        "customer_name": "Ada Lovelace",
        "customer_email": "ada@example.org",
        "style": "orchestrated",
        "currency": "USD",
        "total": 1400,
        "state": "confirmed",
        "day": other.get("placed_at", T0).date(),
        "placed_at": T0,
        "version": 2,
        **other,
    }


def item(order_id: str, n: int = 1, sku: str = "TEA", **other: Any) -> Row:
    return {
        "order_id": order_id,
        "n": n,
        "sku": sku,
        "product_name": None,
        "quantity": 2,
        "unit_price": 700,
        **other,
    }


def account(account_id: str, stated: int, currency: str = "USD") -> Row:
    return {
        "id": account_id,
        "shard": "shard-1",
        "kind": "customer",
        "currency": currency,
        "posted": stated,
        "held": 0,
        "overdraft": 0,
        "state": "open",
        "version": 1,
        "stated": stated,
    }


def line(account_id: str, position: int, amount: int) -> Row:
    return {
        "account_id": account_id,
        "saga_id": f"order/{position}",
        "kind": "capture",
        "position": position,
        "at": T0 + position * MINUTE,
        "amount": amount,
        "other_side": "merchant.USD",
    }


def sold(day: date, sku: str, amount: int, orders: int = 1, units: int = 1, currency: str = "USD") -> Row:
    return {"day": day, "sku": sku, "currency": currency, "orders": orders, "units": units, "amount": amount}


def product(sku: str, name: str) -> Row:
    return {"sku": sku, "shard": "shard-1", "name": name, "currency": "USD", "unit_price": 700, "version": 1}


def level(sku: str, on_hand: int = 10, reserved: int = 0) -> Row:
    return {"sku": sku, "shard": "shard-1", "on_hand": on_hand, "reserved": reserved, "version": 1}


async def fill(database: Database, **rows: Sequence[Row]) -> None:
    """`rows`: by table."""
    async with database.transaction() as connection:
        for table, given in rows.items():
            for row in given:
                await connection.execute(insert(tables.metadata.tables[f"live.{table}"]).values(**row))


async def run(database: Database, *statements: str) -> None:
    async with database.transaction() as connection:
        for statement in statements:
            await connection.execute(text(statement))
