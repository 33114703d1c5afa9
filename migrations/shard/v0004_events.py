"""For consumers of the outbox: positions, parked events, and versions of aggregates that had none."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from migrations.xid8 import Xid8

revision = "shard_0004"
down_revision = "shard_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox_cursor",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("xid", Xid8, nullable=False),
        sa.Column("moved_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.create_table(
        "parked_event",
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("aggregate", sa.Text, primary_key=True),
        sa.Column("aggregate_id", sa.Text, primary_key=True),
        sa.Column("aggregate_version", sa.BigInteger, primary_key=True),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )
    op.add_column("movement", sa.Column("xid", Xid8, nullable=False, server_default=sa.text("pg_current_xact_id()")))
    op.create_index("movement_position", "movement", ["xid", "id"])
    for table in ("customer", "product"):
        op.add_column(table, sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")))
    op.add_column("orders", sa.Column("choreography", JSONB))
    op.create_index(
        "outbox_of_order",
        "outbox",
        ["aggregate_id"],
        postgresql_where=sa.text("(payload -> 'choreography') IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("outbox_of_order", "outbox")
    op.drop_column("orders", "choreography")
    for table in ("product", "customer"):
        op.drop_column(table, "version")
    op.drop_column("movement", "xid")
    op.drop_table("parked_event")
    op.drop_table("outbox_cursor")
