"""Marks that vouch for positions kept in another database: see `shards.outbox.marks`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "shard_0005"
down_revision = "shard_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "history_mark",
        sa.Column("reader", sa.Text, primary_key=True),
        sa.Column("mark", sa.Text, nullable=False),
        sa.Column("previous", sa.Text),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
    )


def downgrade() -> None:
    op.drop_table("history_mark")
