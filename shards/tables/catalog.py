"""The shard map: which shard owns which bucket, SKU range and pinned account."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, ForeignKey, SmallInteger, Table, Text, text

from shards.tables.common import new_metadata

metadata = new_metadata()


def _given_at() -> Column[int]:
    """The map version at which the slot was given to its shard: the shard refuses routers with an older map."""
    return Column("version", BigInteger, nullable=False)


shard_map = Table(
    "shard_map",
    metadata,
    Column("only_row", Boolean, primary_key=True, server_default=text("true")),
    Column("version", BigInteger, nullable=False),
    # False until the first product import has cut the SKU ranges at its quantiles.
    Column("ranges_cut", Boolean, nullable=False, server_default=text("false")),
    CheckConstraint("only_row", name="only_row"),
)

map_shard = Table("map_shard", metadata, Column("name", Text, primary_key=True))

map_bucket = Table(
    "map_bucket",
    metadata,
    Column("bucket", SmallInteger, primary_key=True, autoincrement=False),
    Column("shard", Text, ForeignKey("map_shard.name"), nullable=False),
    _given_at(),
    CheckConstraint("bucket BETWEEN 0 AND 4095", name="bucket"),
)

map_sku_range = Table(
    "map_sku_range",
    metadata,
    Column("lower_bound", Text, primary_key=True),
    Column("shard", Text, ForeignKey("map_shard.name"), nullable=False),
    _given_at(),
)

map_pin = Table(
    "map_pin",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("shard", Text, ForeignKey("map_shard.name"), nullable=False),
    _given_at(),
)
