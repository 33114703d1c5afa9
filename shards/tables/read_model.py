"""The read model: what queries read, built from the shards' events."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Table, Text

from shards.tables.common import XID8, new_metadata

metadata = new_metadata()

# How far each shard's events have been projected; moves in the same transaction as what was projected.
projection_cursor = Table(
    "projection_cursor",
    metadata,
    Column("shard", Text, primary_key=True),
    Column("xid", XID8(), nullable=False),
    Column("id", BigInteger, nullable=False),
)
