"""Batches of transfers: how many lines are staged on each shard, and whether that is all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "catalog_0002"
down_revision = "catalog_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "transfer_batch",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("lines", JSONB),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("staged_at", sa.DateTime(timezone=True)),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("(lines IS NULL) = (staged_at IS NULL)", name="transfer_batch_staged_check"),
        sa.CheckConstraint("finished_at IS NULL OR staged_at IS NOT NULL", name="transfer_batch_finished_check"),
    )


def downgrade() -> None:
    op.drop_table("transfer_batch")
