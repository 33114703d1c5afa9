"""Comments on products, and those that another shard than their home has taken."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "shard_0011"
down_revision = "shard_0010"
branch_labels = None
depends_on = None

_IDENTIFIER = "COLLATE \"C\" ~ '^[A-Za-z0-9._-]{1,100}$'"
_LENGTH = "char_length(body) BETWEEN 1 AND 2000"


def upgrade() -> None:
    op.create_table(
        "comment",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("sku_range", sa.Text, nullable=False),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("taken_by", sa.Text, nullable=False),
        sa.Column("hidden", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("version", sa.BigInteger, nullable=False, server_default=sa.text("1")),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        *_checks("comment"),
    )
    op.create_index("comment_thread", "comment", ["sku", "at", "id"])
    op.create_table(
        "comment_handoff",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("sku", sa.Text, nullable=False),
        sa.Column("customer_id", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_hash", sa.Text, nullable=False),
        sa.Column("taken_at", sa.DateTime(timezone=True), nullable=False, server_default=sa.text("now()")),
        sa.Column("homed_at", sa.DateTime(timezone=True)),
        *_checks("comment_handoff"),
    )
    op.create_index("comment_handoff_thread", "comment_handoff", ["sku", "at", "id"])
    waiting, homed = sa.text("homed_at IS NULL"), sa.text("homed_at IS NOT NULL")
    op.create_index("comment_handoff_waiting", "comment_handoff", ["taken_at", "id"], postgresql_where=waiting)
    op.create_index("comment_handoff_homed", "comment_handoff", ["homed_at"], postgresql_where=homed)


def downgrade() -> None:
    op.drop_table("comment_handoff")
    op.drop_table("comment")


def _checks(table: str) -> list[sa.CheckConstraint]:
    columns = {column: f"{column} {_IDENTIFIER}" for column in ("id", "sku", "customer_id")}
    return [
        sa.CheckConstraint(rule, name=f"{table}_{name}_check") for name, rule in {**columns, "body": _LENGTH}.items()
    ]
