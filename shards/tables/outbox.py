"""The outbox of a shard: its events, and who has taken them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Identity, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from shards.tables.common import XID8, db_time
from shards.tables.shard import metadata

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    # Readers go by (xid, id) below the snapshot's horizon, since ids are assigned before the commit.
    Column("xid", XID8, nullable=False, server_default=text("pg_current_xact_id()")),
    Column("origin_shard", Text, nullable=False),
    Column("saga_id", Text, nullable=False),
    Column("aggregate", Text, nullable=False),
    Column("aggregate_id", Text, nullable=False),
    Column("aggregate_version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", JSONB, nullable=False),
    db_time("created_at"),
    Index("outbox_position", "xid", "id"),
    # For finding the events of one choreographed order; no other event is indexed.
    Index("outbox_of_order", "aggregate_id", postgresql_where=text("(payload -> 'choreography') IS NOT NULL")),
)

# The positions of consumers that keep theirs here, and how far the outbox was trimmed. A consumer that writes to
# another database keeps its position there.
outbox_cursor = Table(
    "outbox_cursor",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("xid", XID8, nullable=False),
    db_time("moved_at"),
)

# Shows that this shard still has the history from which a position, kept elsewhere, was taken: see
# `shards.outbox.marks`. One row for each reader; trimming keeps it.
history_mark = Table(
    "history_mark",
    metadata,
    Column("reader", Text, primary_key=True),
    Column("mark", Text, nullable=False),
    Column("previous", Text),
    db_time("marked_at"),
)

# Events that a consumer could not take, with the reason. It went on with the events of other aggregates.
parked_event = Table(
    "parked_event",
    metadata,
    Column("consumer", Text, primary_key=True),
    Column("aggregate", Text, primary_key=True),
    Column("aggregate_id", Text, primary_key=True),
    Column("aggregate_version", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("reason", Text, nullable=False),
    db_time("parked_at"),
)
