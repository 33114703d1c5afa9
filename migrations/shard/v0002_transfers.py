"""Transfers: their decision on the source's shard, their admission on the target's, and how they move money."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "shard_0002"
down_revision = "shard_0001"
branch_labels = None
depends_on = None

_KINDS = "kind IN ('opening', 'capture', 'debit', 'credit', 'transfer')"
_KINDS_BEFORE = "kind IN ('opening', 'capture', 'credit')"


def upgrade() -> None:
    op.drop_constraint("movement_kind_check", "movement")
    op.create_check_constraint("movement_kind_check", "movement", _KINDS)
    _transfer()
    _admission()


def downgrade() -> None:
    op.drop_table("admission")
    op.drop_table("transfer")
    op.drop_constraint("movement_kind_check", "movement")
    op.create_check_constraint("movement_kind_check", "movement", _KINDS_BEFORE)


def _transfer() -> None:
    op.create_table(
        "transfer",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("keyspace", sa.Text, nullable=False),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("reference", sa.Text),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("protocol", sa.Text, nullable=False),
        sa.Column("batch_id", sa.Text),
        sa.Column("gid_stem", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        _db_time("created_at"),
        sa.Column("decided_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("amount > 0", name="transfer_amount_check"),
        sa.CheckConstraint("source <> target", name="transfer_accounts_check"),
        sa.CheckConstraint("protocol IN ('local', 'saga', '2pc', 'bulk')", name="transfer_protocol_check"),
        sa.CheckConstraint("(gid_stem IS NOT NULL) = (protocol = '2pc')", name="transfer_gid_stem_check"),
        sa.CheckConstraint("protocol <> 'bulk' OR batch_id IS NOT NULL", name="transfer_batch_check"),
        sa.CheckConstraint("state IN ('pending', 'confirmed', 'declined')", name="transfer_state_check"),
        sa.CheckConstraint("(reason IS NOT NULL) = (state = 'declined')", name="transfer_reason_check"),
        sa.CheckConstraint("(reason IS NULL) = (detail IS NULL)", name="transfer_detail_check"),
        sa.CheckConstraint("(decided_at IS NULL) = (state = 'pending')", name="transfer_decided_check"),
        sa.Index("transfer_pending", "state", postgresql_where=sa.text("state = 'pending'")),
        sa.Index("transfer_gid_stem", "gid_stem", unique=True, postgresql_where=sa.text("gid_stem IS NOT NULL")),
        sa.Index("transfer_batch", "batch_id", postgresql_where=sa.text("batch_id IS NOT NULL")),
    )


def _admission() -> None:
    op.create_table(
        "admission",
        sa.Column("saga_id", sa.Text, primary_key=True),
        sa.Column("account_id", sa.Text, nullable=False),
        sa.Column("keyspace", sa.Text, nullable=False),
        sa.Column("slot", sa.Text, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("detail", sa.Text),
        _db_time("created_at"),
        sa.CheckConstraint("amount > 0", name="admission_amount_check"),
        sa.CheckConstraint("state IN ('open', 'credited', 'refused', 'withdrawn')", name="admission_state_check"),
        sa.CheckConstraint("(reason IS NOT NULL) = (state = 'refused')", name="admission_reason_check"),
        sa.CheckConstraint("(reason IS NULL) = (detail IS NULL)", name="admission_detail_check"),
        sa.Index("admission_open", "account_id", postgresql_where=sa.text("state = 'open'")),
    )


def _db_time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()"))
