"""Tables of transfers on a shard: a transfer is on its source's shard, its admission on its target's."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, DateTime, Index, Table, Text, text

from domain.limits import AMOUNT_MINOR_UNITS_MAX
from shards.tables.common import currency, db_time, identifier
from shards.tables.shard import metadata

# The transfer's decision, and its own barrier: its states only go forward, and every call about it takes this row
# first. No foreign key to the account: a transfer of an account that does not exist is declined, and stays so.
transfer = Table(
    "transfer",
    metadata,
    Column("source", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("keyspace", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("reference", Text),
    Column("content_hash", Text, nullable=False),
    # The protocol that it began with, whatever a later caller asks for.
    Column("protocol", Text, nullable=False),
    # The batch that decided it; NULL if it has a workflow of its own.
    Column("batch_id", Text),
    # The common beginning of the gids of its prepared transactions, by which they lead back to this row.
    Column("gid_stem", Text),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    Column("version", BigInteger, nullable=False, server_default=text("1")),
    db_time("created_at"),
    Column("decided_at", DateTime(timezone=True)),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("source <> target", name="accounts"),
    CheckConstraint("protocol IN ('local', 'saga', '2pc', 'bulk')", name="protocol"),
    CheckConstraint("(gid_stem IS NOT NULL) = (protocol = '2pc')", name="gid_stem"),
    CheckConstraint("protocol <> 'bulk' OR batch_id IS NOT NULL", name="batch"),
    CheckConstraint("state IN ('pending', 'confirmed', 'declined')", name="state"),
    CheckConstraint("(reason IS NOT NULL) = (state = 'declined')", name="reason"),
    CheckConstraint("(reason IS NULL) = (detail IS NULL)", name="detail"),
    CheckConstraint("(decided_at IS NULL) = (state = 'pending')", name="decided"),
    CheckConstraint(" AND ".join(identifier(each) for each in ("id", "source", "target")), name="ids"),
    CheckConstraint(currency(), name="currency"),
    CheckConstraint(f"amount <= {AMOUNT_MINOR_UNITS_MAX}", name="limit"),
    Index("transfer_pending", "state", postgresql_where=text("state = 'pending'")),
    Index("transfer_gid_stem", "gid_stem", unique=True, postgresql_where=text("gid_stem IS NOT NULL")),
    Index("transfer_batch", "batch_id", postgresql_where=text("batch_id IS NOT NULL")),
)

# The target's promise to accept, and the barrier of all steps there. An open one keeps its account from closing; one
# that is withdrawn before it was open bars a late admission.
admission = Table(
    "admission",
    metadata,
    Column("saga_id", Text, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("keyspace", Text, nullable=False),
    Column("slot", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("detail", Text),
    db_time("created_at"),
    # The batch that admitted it, which it does before it takes the transfer's id.
    Column("batch_id", Text),
    CheckConstraint("amount > 0", name="amount"),
    CheckConstraint("state IN ('open', 'credited', 'refused', 'withdrawn')", name="state"),
    CheckConstraint("(reason IS NOT NULL) = (state = 'refused')", name="reason"),
    CheckConstraint("(reason IS NULL) = (detail IS NULL)", name="detail"),
    CheckConstraint(identifier("account_id"), name="account_id"),
    CheckConstraint(currency(), name="currency"),
    CheckConstraint(f"amount <= {AMOUNT_MINOR_UNITS_MAX}", name="limit"),
    Index("admission_open", "account_id", postgresql_where=text("state = 'open'")),
)
