"""What batches of transfers need beside the transfers' own rows: the batch in the catalog, its lines on the shards.

None of these rows holds money or decides anything for good: the transfers' rows do. Where they are gone, the same file
makes them again.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shards.tables.catalog import metadata as catalog_metadata
from shards.tables.common import db_time
from shards.tables.shard import metadata

# In the catalog. Until `staged_at` is set, the lines on the shards are whatever a killed import left.
transfer_batch = Table(
    "transfer_batch",
    catalog_metadata,
    Column("id", Text, primary_key=True),
    # By shard, how many lines were staged there.
    Column("lines", JSONB),
    db_time("created_at"),
    Column("staged_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("(lines IS NULL) = (staged_at IS NULL)", name="staged"),
    CheckConstraint("finished_at IS NULL OR staged_at IS NOT NULL", name="finished"),
)

# The good lines of a file, numbered as in the file, whose source's account lies here.
batch_line = Table(
    "batch_line",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("n", BigInteger, primary_key=True),
    Column("source", Text, nullable=False),
    Column("transfer_id", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reference", Text),
    Column("content_hash", Text, nullable=False),
    # The line before it in the file that has the same source and id: that one is the transfer.
    Column("repeats", BigInteger),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("repeats < n", name="repeats"),
)

# Lines that the money did not suffice for at their first turn; their second one is the last.
batch_postponed = Table(
    "batch_postponed",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("n", BigInteger, primary_key=True),
)

# What a batch has brought to the accounts of this shard, by round. It cannot be spent by the same round, so that no
# outcome depends on which shard was quicker.
batch_credit = Table(
    "batch_credit",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("round", SmallInteger, primary_key=True),
    Column("account_id", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    CheckConstraint("round IN (1, 2)", name="round"),
    CheckConstraint("amount > 0", name="amount"),
)
