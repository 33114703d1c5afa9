"""Naming conventions, column types and conditions that several tables share."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, DateTime, MetaData, text
from sqlalchemy.types import UserDefinedType

from domain.limits import IDENTIFIER_CHARS_MAX

_NAMES = {
    "pk": "%(table_name)s_pkey",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "ck": "%(table_name)s_%(constraint_name)s_check",
}


def new_metadata() -> MetaData:
    """New metadata, one per kind of database."""
    return MetaData(naming_convention=_NAMES)


class XID8(UserDefinedType[str]):
    """Postgres's 64-bit transaction id: it never wraps around, and only the server compares it."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def db_time(name: str) -> Column[object]:
    """When the row was written, by the database's clock."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=text("now()"))


def identifier(column: str) -> str:
    """A condition for the form of ids and SKUs: the rule of `domain.identifiers`, independent of the collation."""
    return f"{column} COLLATE \"C\" ~ '^[A-Za-z0-9._-]{{1,{IDENTIFIER_CHARS_MAX}}}$'"


def currency(column: str = "currency") -> str:
    """A condition for the form only: which currency codes exist is declared in the domain and changes."""
    return f"{column} COLLATE \"C\" ~ '^[A-Z]{{3}}$'"


def one_of(column: str, values: Iterable[str]) -> str:
    """A condition that a text column has one of these values."""
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"
