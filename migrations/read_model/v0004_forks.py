"""The shard's forks and position beside each cursor, so that lists are read at a point. A cursor without them gets them
with the next batch, or with the next look of an idle relay.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "read_model_0004"
down_revision = "read_model_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A running rebuild creates its version anew; the version from before the last switch is dropped.
    for schema in ("next", "retired"):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    op.add_column("projection_cursor", sa.Column("lsn", sa.BigInteger), schema="live")
    op.add_column("projection_cursor", sa.Column("forks", JSONB), schema="live")


def downgrade() -> None:
    for schema in ("next", "retired"):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    op.drop_column("projection_cursor", "forks", schema="live")
    op.drop_column("projection_cursor", "lsn", schema="live")
