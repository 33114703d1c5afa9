"""Batches of transfers: staged lines, lines postponed to the second round, and credits by round."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "shard_0003"
down_revision = "shard_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batch_line",
        *_line_key(),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("transfer_id", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("repeats", sa.BigInteger),
        sa.CheckConstraint("amount > 0", name="batch_line_amount_check"),
        sa.CheckConstraint("repeats < n", name="batch_line_repeats_check"),
    )
    op.create_table("batch_postponed", *_line_key())
    op.add_column("admission", sa.Column("batch_id", sa.Text))
    op.create_table(
        "batch_credit",
        sa.Column("batch_id", sa.Text, primary_key=True),
        sa.Column("round", sa.SmallInteger, primary_key=True),
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.CheckConstraint("round IN (1, 2)", name="batch_credit_round_check"),
        sa.CheckConstraint("amount > 0", name="batch_credit_amount_check"),
    )


def downgrade() -> None:
    op.drop_column("admission", "batch_id")
    for table in ("batch_credit", "batch_postponed", "batch_line"):
        op.drop_table(table)


def _line_key() -> list[sa.Column[object]]:
    return [sa.Column("batch_id", sa.Text, primary_key=True), sa.Column("n", sa.BigInteger, primary_key=True)]
