"""Leases with their holders and waiters, and the fences of the rows that they protect."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "catalog_0003"
down_revision = "catalog_0002"
branch_labels = None
depends_on = None

_NAME = "name COLLATE \"C\" ~ '^(shardwise/)?[A-Za-z0-9._-]{1,100}$'"
_HOLDER = "holder COLLATE \"C\" ~ '^[A-Za-z0-9._-]{1,100}$'"
_MODE = "mode IN ('exclusive', 'shared')"


def _time(name: str, default: str | None = None) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=False, server_default=sa.text(default) if default else None
    )


def upgrade() -> None:
    op.create_table(
        "lease",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("mode", sa.Text),
        sa.Column("tickets", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("server_started", sa.DateTime(timezone=True)),
        sa.CheckConstraint(_NAME, name="lease_name_check"),
        sa.CheckConstraint("token >= 0 AND tickets >= 0", name="lease_numbers_check"),
        sa.CheckConstraint(_MODE, name="lease_mode_check"),
        sa.CheckConstraint(
            "(token = 0) = (mode IS NULL) AND (mode IS NULL) = (server_started IS NULL)", name="lease_granted_check"
        ),
    )
    op.create_table(
        "lease_holder",
        sa.Column("name", sa.Text, sa.ForeignKey("lease.name"), primary_key=True),
        sa.Column("holder", sa.Text, primary_key=True),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        _time("granted_at", "now()"),
        _time("expires_at"),
        sa.CheckConstraint(_HOLDER, name="lease_holder_holder_check"),
        sa.CheckConstraint(_MODE, name="lease_holder_mode_check"),
        sa.CheckConstraint("token > 0", name="lease_holder_token_check"),
        sa.CheckConstraint("expires_at > granted_at", name="lease_holder_expires_at_check"),
    )
    op.create_index(
        "lease_holder_exclusive",
        "lease_holder",
        ["name"],
        unique=True,
        postgresql_where=sa.text("mode = 'exclusive'"),
    )
    op.create_table(
        "lease_waiter",
        sa.Column("name", sa.Text, sa.ForeignKey("lease.name"), primary_key=True),
        sa.Column("ticket", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("mode", sa.Text, nullable=False),
        _time("arrived_at", "now()"),
        _time("gives_up_at"),
        _time("lapses_at"),
        sa.UniqueConstraint("name", "holder"),
        sa.CheckConstraint(_HOLDER, name="lease_waiter_holder_check"),
        sa.CheckConstraint(_MODE, name="lease_waiter_mode_check"),
        sa.CheckConstraint("ticket > 0", name="lease_waiter_ticket_check"),
    )
    op.create_table(
        "fence",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("token", sa.BigInteger, nullable=False),
        _time("raised_at", "now()"),
        sa.CheckConstraint(_NAME, name="fence_name_check"),
        sa.CheckConstraint("token > 0", name="fence_token_check"),
    )


def downgrade() -> None:
    for table in ("fence", "lease_waiter", "lease_holder", "lease"):
        op.drop_table(table)
