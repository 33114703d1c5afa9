"""Comments on products: at home on the shard of their SKU, and those that another shard has taken for it."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Index, Table, Text, text

from domain.comments import TEXT_CHARS_MAX
from shards.tables.common import db_time, identifier
from shards.tables.shard import metadata

_LENGTH = f"char_length(body) BETWEEN 1 AND {TEXT_CHARS_MAX}"

# `taken_by`: the shard that took it. No foreign key to the product: whoever takes a comment may not know it.
comment = Table(
    "comment",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("sku_range", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("content_hash", Text, nullable=False),
    Column("taken_by", Text, nullable=False),
    Column("hidden", Boolean, nullable=False, server_default=text("false")),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    db_time("created_at"),
    CheckConstraint(identifier("id"), name="id"),
    CheckConstraint(identifier("sku"), name="sku"),
    CheckConstraint(identifier("customer_id"), name="customer_id"),
    CheckConstraint(_LENGTH, name="body"),
    Index("comment_thread", "sku", "at", "id"),
)

# Taken while the home did not answer: the rows are the queue by which the relay brings them home. One that is home
# stays for a while: its author's session looks here, and the home's replicas may not have it yet.
comment_handoff = Table(
    "comment_handoff",
    metadata,
    Column("id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("content_hash", Text, nullable=False),
    db_time("taken_at"),
    Column("homed_at", DateTime(timezone=True)),
    CheckConstraint(identifier("id"), name="id"),
    CheckConstraint(identifier("sku"), name="sku"),
    CheckConstraint(identifier("customer_id"), name="customer_id"),
    CheckConstraint(_LENGTH, name="body"),
    Index("comment_handoff_thread", "sku", "at", "id"),
    Index("comment_handoff_waiting", "taken_at", "id", postgresql_where=text("homed_at IS NULL")),
    Index("comment_handoff_homed", "homed_at", postgresql_where=text("homed_at IS NOT NULL")),
)
