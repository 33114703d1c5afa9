"""The read model of the first release: how far each shard's events have been projected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.xid8 import Xid8

revision = "read_model_0001"
down_revision = None
branch_labels = "read_model"
depends_on = None


def upgrade() -> None:
    op.create_table(
        "projection_cursor",
        sa.Column("shard", sa.Text, primary_key=True),
        sa.Column("xid", Xid8, nullable=False),
        sa.Column("id", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("projection_cursor")
