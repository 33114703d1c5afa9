"""The forks of a shard's history, by which positions in its log are compared: see `shards.connections.forks`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import UUID

revision = "shard_0007"
down_revision = "shard_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shard_fork",
        sa.Column("n", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("id", UUID, nullable=False, unique=True),
        sa.Column("began", sa.BigInteger, nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False, unique=True),
    )


def downgrade() -> None:
    op.drop_table("shard_fork")
