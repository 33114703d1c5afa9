"""The read model: what queries read, built from the shards' events.

All tables are in one schema, so that a new version can be filled beside it, and switched to by renaming the two.
There are no foreign keys: events of several shards arrive in these tables in any order.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shards.tables.common import XID8, db_time, new_metadata

metadata = new_metadata()

LIVE = "live"

# How far each shard's events have been projected: everything of transactions below `xid`. Moves in the same
# transaction as the projected rows, and its lock admits one writer at a time for each shard. `generation` numbers the
# versions of the read model: by it a writer that waited through a switch notices the switch. `reader` and `mark` name
# the shard's `history_mark` that vouches for `xid`; `mark` is NULL if nothing was taken yet. `forks` are the shard's
# newest forks as it was then, and below `lsn` lies the commit of everything taken: see `shards.reading.lists`.
projection_cursor = Table(
    "projection_cursor",
    metadata,
    Column("shard", Text, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("xid", XID8, nullable=False),
    Column("events", BigInteger, nullable=False, server_default=text("0")),
    db_time("moved_at"),
    Column("reader", Text, nullable=False, server_default=text("gen_random_uuid()")),
    Column("mark", Text),
    Column("lsn", BigInteger),
    Column("forks", JSONB),
    schema=LIVE,
)

# How far a rebuild has filled each shard's tables; `after` is the last key. Empty in a version that no rebuild made.
fill_progress = Table(
    "fill_progress",
    metadata,
    Column("shard", Text, primary_key=True),
    Column("part", Text, primary_key=True),
    Column("after", Text, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False),
    schema=LIVE,
)

# Aggregates whose newest event could not be projected, with the reason. The next event of one tries it again.
parked_aggregate = Table(
    "parked_aggregate",
    metadata,
    Column("shard", Text, primary_key=True),
    Column("aggregate", Text, primary_key=True),
    Column("aggregate_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    db_time("parked_at"),
    schema=LIVE,
)

customer = Table(
    "customer",
    metadata,
    Column("id", Text, primary_key=True),
    Column("shard", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("version", BigInteger, nullable=False),
    Column("address", Text),
    Column("city", Text),
    Column("postal_code", Text),
    Column("country", Text),
    Column("settings", JSONB, nullable=False, server_default=text("'{}'")),
    schema=LIVE,
)

product = Table(
    "product",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("shard", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    schema=LIVE,
)

stock_level = Table(
    "stock_level",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("shard", Text, nullable=False),
    Column("on_hand", BigInteger, nullable=False),
    Column("reserved", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    schema=LIVE,
)

account_details = Table(
    "account_details",
    metadata,
    Column("id", Text, primary_key=True),
    Column("shard", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("posted", BigInteger, nullable=False),
    Column("held", BigInteger, nullable=False),
    Column("overdraft", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    # The sum of the lines below: the balance that the statement ends with.
    Column("stated", BigInteger, nullable=False, server_default=text("0")),
    schema=LIVE,
)

# `position` is the movement's id, which orders the lines of an account: money arrives before it is spent.
statement_line = Table(
    "statement_line",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("saga_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("other_side", Text, nullable=False),
    Index("statement_line_position", "account_id", "position", postgresql_include=["amount"]),
    schema=LIVE,
)

order_details = Table(
    "order_details",
    metadata,
    Column("id", Text, primary_key=True),
    Column("shard", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("customer_name", Text, nullable=False),
    Column("customer_email", Text),
    Column("style", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("ship_to", JSONB),
    # The day that sales count it to: the day of the order if one was given, else the day when it was placed, in UTC.
    Column("day", Date, nullable=False),
    Column("placed_at", DateTime(timezone=True), nullable=False),
    Column("decided_at", DateTime(timezone=True)),
    Column("closed_at", DateTime(timezone=True)),
    Column("version", BigInteger, nullable=False),
    Index("order_details_newest", "placed_at", "id"),
    Index("order_details_customer", "customer_id", "placed_at", "id"),
    Index("order_details_state", "state", "placed_at", "id"),
    Index("order_details_day", "day", "placed_at", "id"),
    schema=LIVE,
)

# `product_name` is NULL until the product's own event has been projected.
order_item = Table(
    "order_item",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("product_name", Text),
    Column("quantity", BigInteger, nullable=False),
    Column("unit_price", BigInteger, nullable=False),
    Index("order_item_sku", "sku"),
    schema=LIVE,
)

# Confirmed orders by product and day. Counted when an order becomes confirmed, which happens once.
sales = Table(
    "sales",
    metadata,
    Column("day", Date, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("orders", BigInteger, nullable=False),
    Column("units", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Index("sales_sku", "sku", "day"),
    schema=LIVE,
)
