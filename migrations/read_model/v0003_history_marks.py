"""Which mark on its shard vouches for each position. A position that has none yet gets one with its next step."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "read_model_0003"
down_revision = "read_model_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A rebuild that runs makes its version anew; what was kept from before the last switch is no longer kept.
    for schema in ("next", "retired"):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    reader = sa.Column("reader", sa.Text, nullable=False, server_default=sa.text("gen_random_uuid()"))
    op.add_column("projection_cursor", reader, schema="live")
    op.add_column("projection_cursor", sa.Column("mark", sa.Text), schema="live")


def downgrade() -> None:
    for schema in ("next", "retired"):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    op.drop_column("projection_cursor", "mark", schema="live")
    op.drop_column("projection_cursor", "reader", schema="live")
