"""The read model in a schema of its own, so that a new version of it can be filled beside it and switched to.

No rows are kept: they can be filled again from the shards.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.xid8 import Xid8

revision = "read_model_0002"
down_revision = "read_model_0001"
branch_labels = None
depends_on = None

LIVE = "live"


def upgrade() -> None:
    op.drop_table("projection_cursor")
    op.execute(f"CREATE SCHEMA {LIVE}")
    op.create_table(
        "projection_cursor",
        sa.Column("shard", sa.Text, primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("xid", Xid8, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        schema=LIVE,
    )
    op.create_table(
        "fill_progress",
        sa.Column("shard", sa.Text, primary_key=True),
        sa.Column("part", sa.Text, primary_key=True),
        sa.Column("after", sa.Text, nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("done", sa.Boolean, nullable=False),
        schema=LIVE,
    )
    op.create_table(
        "parked_aggregate",
        sa.Column("shard", sa.Text, primary_key=True),
        sa.Column("aggregate", sa.Text, primary_key=True),
        sa.Column("aggregate_id", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        schema=LIVE,
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False),
        schema=LIVE,
    )
    op.create_table(
        "product",
        sa.Column("sku", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("unit_price", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        schema=LIVE,
    )
    op.create_table(
        "stock_level",
        sa.Column("sku", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, nullable=False),
        sa.Column("on_hand", sa.BigInteger, nullable=False),
        sa.Column("reserved", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        schema=LIVE,
    )
    op.create_table(
        "account_details",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("posted", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("overdraft", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("stated", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        schema=LIVE,
    )
    op.create_table(
        "statement_line",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("saga_id", sa.Text, primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("other_side", sa.Text, nullable=False),
        schema=LIVE,
    )
    op.create_index(
        "statement_line_position",
        "statement_line",
        ["account_id", "position"],
        schema=LIVE,
        postgresql_include=["amount"],
    )
    op.create_table(
        "order_details",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, nullable=False),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("customer_name", sa.Text, nullable=False),
        sa.Column("customer_email", sa.Text),
        sa.Column("style", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("ship_to", JSONB),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.Column("version", sa.BigInteger, nullable=False),
        schema=LIVE,
    )
    op.create_index("order_details_customer", "order_details", ["customer_id", "placed_at", "id"], schema=LIVE)
    op.create_index("order_details_day", "order_details", ["day", "placed_at", "id"], schema=LIVE)
    op.create_index("order_details_newest", "order_details", ["placed_at", "id"], schema=LIVE)
    op.create_index("order_details_state", "order_details", ["state", "placed_at", "id"], schema=LIVE)
    op.create_table(
        "order_item",
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("n", sa.Integer, primary_key=True),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("product_name", sa.Text),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("unit_price", sa.BigInteger, nullable=False),
        schema=LIVE,
    )
    op.create_index("order_item_sku", "order_item", ["sku"], schema=LIVE)
    op.create_table(
        "sales",
        sa.Column("day", sa.Date, primary_key=True),
        sa.Column("sku", sa.Text, primary_key=True),
        sa.Column("currency", sa.Text, primary_key=True),
        sa.Column("orders", sa.BigInteger, nullable=False),
        sa.Column("units", sa.BigInteger, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        schema=LIVE,
    )
    op.create_index("sales_sku", "sales", ["sku", "day"], schema=LIVE)


def downgrade() -> None:
    for schema in ("next", "retired", LIVE):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    op.create_table(
        "projection_cursor",
        sa.Column("shard", sa.Text, primary_key=True),
        sa.Column("xid", Xid8, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
    )
