"""The catalog of the first release: the shard map."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "catalog_0001"
down_revision = None
branch_labels = "catalog"
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shard_map",
        sa.Column("only_row", sa.Boolean, primary_key=True, server_default=sa.text("true")),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("ranges_cut", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.CheckConstraint("only_row", name="shard_map_only_row_check"),
    )
    op.create_table("map_shard", sa.Column("name", sa.Text, primary_key=True))
    op.create_table(
        "map_bucket",
        sa.Column("bucket", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("shard", sa.Text, sa.ForeignKey("map_shard.name"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.CheckConstraint("bucket BETWEEN 0 AND 4095", name="map_bucket_bucket_check"),
    )
    op.create_table(
        "map_sku_range",
        sa.Column("lower_bound", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, sa.ForeignKey("map_shard.name"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "map_pin",
        sa.Column("account_id", sa.Text, primary_key=True),
        sa.Column("shard", sa.Text, sa.ForeignKey("map_shard.name"), nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    for table in ("map_pin", "map_sku_range", "map_bucket", "map_shard", "shard_map"):
        op.drop_table(table)
