"""The mark on the shard that vouches for each position. A position without one gets it with the next batch."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "read_model_0003"
down_revision = "read_model_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A running rebuild creates its version anew; the version from before the last switch is dropped.
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
