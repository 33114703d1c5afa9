"""Tables of transfer batches, beside the transfers' own rows: the batch in the catalog, its lines on the shards.

None of these rows holds money or a final decision: the transfers' rows do. If they are lost, importing the same file
writes them again.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, SmallInteger, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from shards.tables.catalog import metadata as catalog_metadata
from shards.tables.common import db_time
from shards.tables.shard import metadata

# In the catalog. Until `staged_at` is set, the lines on the shards may be the incomplete rest of a killed import.
transfer_batch = Table(
    "transfer_batch",
    catalog_metadata,
    Column("id", Text, primary_key=True),
    # How many lines were staged on each shard.
    Column("lines", JSONB),
    db_time("created_at"),
    Column("staged_at", DateTime(timezone=True)),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint("(lines IS NULL) = (staged_at IS NULL)", name="staged"),
    CheckConstraint("finished_at IS NULL OR staged_at IS NOT NULL", name="finished"),
)

# The valid lines of a file, numbered as in the file, whose source's account is here.
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
    # The number of an earlier line with the same source and id: that line is the transfer.
    Column("repeats", BigInteger),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("repeats < n", name="repeats"),
)

# Lines for which the money did not suffice in the first round; the second round is the last.
batch_postponed = Table(
    "batch_postponed",
    metadata,
    Column("batch_id", Text, primary_key=True),
    Column("n", BigInteger, primary_key=True),
)

# What a batch has credited to the accounts of this shard, by round. The same round cannot spend it, so that no outcome
# depends on which shard is quicker.
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
