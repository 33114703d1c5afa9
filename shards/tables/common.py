"""Naming conventions, column types and conditions that several tables share."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Column, DateTime, MetaData, text
from sqlalchemy.types import UserDefinedType

from domain.limits import (
    IDENTIFIER_CHARS_MAX,
    SETTING_CHARS_MAX,
    SETTING_NAME_CHARS_MAX,
    SETTINGS_BYTES_MAX,
    SETTINGS_MAX,
)

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


def text_of(chars_max: int, *columns: str) -> str:
    """A condition that each of these text columns has a character at least and not too many, or is NULL."""
    return " AND ".join(f"char_length({column}) BETWEEN 1 AND {chars_max}" for column in columns)


def settings(column: str) -> str:
    """A condition for free settings: the rule of `domain.profiles`. No bound in a pattern may be over 255."""
    half = f"[^[:cntrl:]]{{0,{SETTING_CHARS_MAX // 2}}}"
    wrong = (
        f'$.keyvalue() ? (!(@.key like_regex "^[A-Za-z0-9._-]{{1,{SETTING_NAME_CHARS_MAX}}}$") '
        f'|| @.value.type() != "string" || !(@.value like_regex "^{half}{half}$"))'
    )
    return (
        f"CASE WHEN jsonb_typeof({column}) = 'object' THEN "
        f"jsonb_array_length(jsonb_path_query_array({column}, '$.keyvalue()')) <= {SETTINGS_MAX} "
        f"AND octet_length(CAST({column} AS text)) <= {SETTINGS_BYTES_MAX} "
        f"AND NOT jsonb_path_exists({column}, '{wrong}') ELSE false END"
    )
