"""Leases and fences: the same tables on each shard and in the catalog.

Users' leases are on a shard, those of the installation in the catalog. A fence is wherever rows are protected.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from domain.leases import NAME_PATTERN, Mode
from shards.tables.catalog import metadata as catalog_metadata
from shards.tables.common import db_time, identifier, one_of
from shards.tables.shard import metadata


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False)


def _mode() -> Column[str]:
    return Column("mode", Text, nullable=False)


def _lease_name(column: str = "name") -> str:
    return f"{column} COLLATE \"C\" ~ '{NAME_PATTERN}'"


def _add_tables(to: MetaData) -> None:
    # One row for each name, for ever: its token must outlive its holders. `token` and `mode` are of the last grant,
    # `tickets` how many waiters there have been, `server_started` when the server had started that granted last: one
    # that has started since may have been restored, and then knows less.
    Table(
        "lease",
        to,
        Column("name", Text, primary_key=True),
        Column("token", BigInteger, nullable=False, server_default=text("0")),
        Column("mode", Text),
        Column("tickets", BigInteger, nullable=False, server_default=text("0")),
        Column("server_started", DateTime(timezone=True)),
        CheckConstraint(_lease_name(), name="name"),
        CheckConstraint("token >= 0 AND tickets >= 0", name="numbers"),
        CheckConstraint(one_of("mode", Mode), name="mode"),
        CheckConstraint("(token = 0) = (mode IS NULL) AND (mode IS NULL) = (server_started IS NULL)", name="granted"),
    )
    # Until `expires_at`, by this database's clock. Whoever is granted the lease next removes a row that has expired.
    Table(
        "lease_holder",
        to,
        Column("name", Text, ForeignKey("lease.name"), primary_key=True),
        Column("holder", Text, primary_key=True),
        _mode(),
        Column("token", BigInteger, nullable=False),
        db_time("granted_at"),
        _time("expires_at"),
        CheckConstraint(identifier("holder"), name="holder"),
        CheckConstraint(one_of("mode", Mode), name="mode"),
        CheckConstraint("token > 0", name="token"),
        CheckConstraint("expires_at > granted_at", name="expires_at"),
        Index("lease_holder_exclusive", "name", unique=True, postgresql_where=text(f"mode = '{Mode.EXCLUSIVE}'")),
    )
    # In the order of `ticket`. Counts for nothing after `gives_up_at`, its time limit, nor after `lapses_at`: a waiter
    # that lives says so in time.
    Table(
        "lease_waiter",
        to,
        Column("name", Text, ForeignKey("lease.name"), primary_key=True),
        Column("ticket", BigInteger, primary_key=True, autoincrement=False),
        Column("holder", Text, nullable=False),
        _mode(),
        db_time("arrived_at"),
        _time("gives_up_at"),
        _time("lapses_at"),
        UniqueConstraint("name", "holder"),
        CheckConstraint(identifier("holder"), name="holder"),
        CheckConstraint(one_of("mode", Mode), name="mode"),
        CheckConstraint("ticket > 0", name="ticket"),
    )
    # The highest token that has written here under the lease of this name: see `shards.leases.fence`.
    Table(
        "fence",
        to,
        Column("name", Text, primary_key=True),
        Column("token", BigInteger, nullable=False),
        db_time("raised_at"),
        CheckConstraint(_lease_name(), name="name"),
        CheckConstraint("token > 0", name="token"),
    )


_add_tables(metadata)
_add_tables(catalog_metadata)
