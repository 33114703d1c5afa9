"""Rows of the read model, written into one of its versions. Everything here is idempotent.

Row tables keep the newest version of each aggregate, in whatever order versions arrive; lines are kept by their own
key; sales are counted when an order's row becomes confirmed, which happens once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.events import Aggregate
from shards.tables.versions import Version

# The sum is computed only for a new account: its lines may have arrived before it.
_ACCOUNTS = """
    INSERT INTO {s}.account_details AS a
        (id, shard, kind, currency, posted, held, overdraft, state, version, stated)
    SELECT id, :shard, kind, currency, posted, held, overdraft, state, version,
           CASE WHEN EXISTS (SELECT FROM {s}.account_details AS known WHERE known.id = given.id) THEN 0
                ELSE (SELECT coalesce(sum(amount), 0) FROM {s}.statement_line WHERE account_id = given.id) END
    FROM json_to_recordset(CAST(:docs AS json)) AS given (id text, kind text, currency text, posted bigint,
        held bigint, overdraft bigint, state text, version bigint)
    ON CONFLICT (id) DO UPDATE SET shard = excluded.shard, posted = excluded.posted, held = excluded.held,
        overdraft = excluded.overdraft, state = excluded.state, version = excluded.version
    WHERE a.version < excluded.version
"""
_STOCK = """
    INSERT INTO {s}.stock_level AS l (sku, shard, on_hand, reserved, version)
    SELECT sku, :shard, on_hand, reserved, version
    FROM json_to_recordset(CAST(:docs AS json)) AS given (sku text, on_hand bigint, reserved bigint, version bigint)
    ON CONFLICT (sku) DO UPDATE SET shard = excluded.shard, on_hand = excluded.on_hand, reserved = excluded.reserved,
        version = excluded.version
    WHERE l.version < excluded.version
"""
# A name is copied to every row that carries it. Items of orders come from other shards' events: see
# `lock_product_names`.
_PRODUCTS = """
    WITH given AS (
        SELECT * FROM json_to_recordset(CAST(:docs AS json))
            AS g (sku text, name text, currency text, unit_price bigint, version bigint)
    ), newer AS (
        INSERT INTO {s}.product AS p (sku, shard, name, currency, unit_price, version)
        SELECT sku, :shard, name, currency, unit_price, version FROM given
        ON CONFLICT (sku) DO UPDATE SET shard = excluded.shard, name = excluded.name, currency = excluded.currency,
            unit_price = excluded.unit_price, version = excluded.version
        WHERE p.version < excluded.version RETURNING sku, name
    )
    UPDATE {s}.order_item AS item SET product_name = newer.name FROM newer
    WHERE item.sku = newer.sku AND item.product_name IS DISTINCT FROM newer.name
"""
_CUSTOMERS = """
    WITH given AS (
        SELECT * FROM json_to_recordset(CAST(:docs AS json)) AS g (id text, name text, email text, version bigint,
            address text, city text, postal_code text, country text, settings jsonb)
    ), newer AS (
        INSERT INTO {s}.customer AS c (id, shard, name, email, version, address, city, postal_code, country, settings)
        SELECT id, :shard, name, email, version, address, city, postal_code, country, settings FROM given
        ON CONFLICT (id) DO UPDATE SET shard = excluded.shard, name = excluded.name, email = excluded.email,
            version = excluded.version, address = excluded.address, city = excluded.city,
            postal_code = excluded.postal_code, country = excluded.country, settings = excluded.settings
        WHERE c.version < excluded.version RETURNING id, name, email
    )
    UPDATE {s}.order_details AS o SET customer_name = newer.name, customer_email = newer.email FROM newer
    WHERE o.customer_id = newer.id AND (o.customer_name, o.customer_email) IS DISTINCT FROM (newer.name, newer.email)
"""
# Sales rows are locked in one order, because projectors of several shards update the same ones.
_ORDERS = """
    WITH given AS MATERIALIZED (
        SELECT * FROM json_to_recordset(CAST(:docs AS json)) AS g (id text, customer_id text, customer_name text,
            customer_email text, style text, currency text, total bigint, state text, reason text, detail text,
            ship_to jsonb, day date, placed_at timestamptz, decided_at timestamptz, closed_at timestamptz,
            version bigint, items json)
    ), newer AS (
        INSERT INTO {s}.order_details AS o (id, shard, customer_id, customer_name, customer_email, style, currency,
            total, state, reason, detail, ship_to, day, placed_at, decided_at, closed_at, version)
        SELECT id, :shard, customer_id, customer_name, customer_email, style, currency, total, state, reason, detail,
            ship_to, day, placed_at, decided_at, closed_at, version FROM given
        ON CONFLICT (id) DO UPDATE SET shard = excluded.shard, state = excluded.state, reason = excluded.reason,
            detail = excluded.detail, decided_at = excluded.decided_at, closed_at = excluded.closed_at,
            version = excluded.version
        WHERE o.version < excluded.version RETURNING id, state
    ), item AS MATERIALIZED (
        SELECT given.id AS order_id, given.day, given.currency, newer.state, i.n, i.sku, i.quantity, i.unit_price
        FROM given JOIN newer USING (id)
        CROSS JOIN json_to_recordset(given.items) AS i (n int, sku text, quantity bigint, unit_price bigint)
    ), items AS (
        INSERT INTO {s}.order_item (order_id, n, sku, product_name, quantity, unit_price)
        SELECT order_id, n, sku, p.name, quantity, item.unit_price FROM item LEFT JOIN {s}.product AS p USING (sku)
        ON CONFLICT DO NOTHING
    )
    INSERT INTO {s}.sales AS sold (day, sku, currency, orders, units, amount)
    SELECT day, sku, currency, count(DISTINCT order_id), sum(quantity), sum(quantity * unit_price) FROM item
    WHERE state = 'confirmed' GROUP BY day, sku, currency ORDER BY day, sku, currency
    ON CONFLICT (day, sku, currency) DO UPDATE SET orders = sold.orders + excluded.orders,
        units = sold.units + excluded.units, amount = sold.amount + excluded.amount
"""
_LINES = """
    WITH added AS (
        INSERT INTO {s}.statement_line (account_id, saga_id, kind, position, at, amount, other_side)
        SELECT account_id, saga_id, kind, position, at, amount, other_side
        FROM json_to_recordset(CAST(:docs AS json)) AS given (account_id text, saga_id text, kind text,
            position bigint, at timestamptz, amount bigint, other_side text)
        ON CONFLICT DO NOTHING RETURNING account_id, amount
    )
    UPDATE {s}.account_details AS a SET stated = stated + more.amount
    FROM (SELECT account_id, sum(amount) AS amount FROM added GROUP BY account_id) AS more WHERE a.id = more.account_id
"""
_STATEMENTS: Mapping[Aggregate, str] = {
    Aggregate.PRODUCT: _PRODUCTS,
    Aggregate.STOCK: _STOCK,
    Aggregate.CUSTOMER: _CUSTOMERS,
    Aggregate.ACCOUNT: _ACCOUNTS,
    Aggregate.ORDER: _ORDERS,
}
_NAMES_CHANGE = text("SELECT pg_advisory_xact_lock(:generation)")
_NAMES_ARE_READ = text("SELECT pg_advisory_xact_lock_shared(:generation)")


async def lock_product_names(connection: AsyncConnection, generation: int, change: bool) -> None:
    """Call it before products or orders are written, and before anything but the cursor is locked.

    An item copies its product's name from the product's row, and a rename updates all existing items: each must see the
    other. So a writer of names (`change`) waits until all transactions that read names have committed, and the other
    way round.
    """
    await connection.execute(_NAMES_CHANGE if change else _NAMES_ARE_READ, {"generation": generation})


async def write_documents(
    connection: AsyncConnection, version: Version, shard: str, aggregate: Aggregate, documents: str
) -> None:
    await connection.execute(_statement(_STATEMENTS[aggregate], version), {"shard": shard, "docs": documents})


async def write_lines(connection: AsyncConnection, version: Version, documents: str) -> None:
    """Call it after the lines' accounts are written."""
    await connection.execute(_statement(_LINES, version), {"docs": documents})


@cache
def _statement(template: str, version: Version) -> TextClause:
    return text(template.replace("{s}", version.value))
