"""Address and free settings beside each customer. No row needs to be read again: no shard has any yet."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "read_model_0005"
down_revision = "read_model_0004"
branch_labels = None
depends_on = None

_COLUMNS = ("address", "city", "postal_code", "country")


def upgrade() -> None:
    # A running rebuild creates its version anew; the version from before the last switch is dropped.
    for schema in ("next", "retired"):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    for name in _COLUMNS:
        op.add_column("customer", sa.Column(name, sa.Text), schema="live")
    settings = sa.Column("settings", JSONB, nullable=False, server_default=sa.text("'{}'"))
    op.add_column("customer", settings, schema="live")


def downgrade() -> None:
    for schema in ("next", "retired"):
        op.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")
    for name in ("settings", *reversed(_COLUMNS)):
        op.drop_column("customer", name, schema="live")
