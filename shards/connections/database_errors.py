"""Errors of the database as errors of our own, without SQL and parameters: those are the customers' data."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from domain.errors import ShardwiseError
from domain.text import first_line


class IntegrityViolation(ShardwiseError):
    """The tables hold something that must never be there. The transaction was rolled back, and no retry can mend it: a
    person has to look."""

    def __init__(self, message: str) -> None:
        super().__init__("integrity_violation", message)


class DatabaseFailure(ShardwiseError):
    """A deadlock, a time-out, a full disk: the transaction was rolled back, and another attempt may succeed."""

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__("database_error", message)


class LockTimedOut(DatabaseFailure):
    """Another transaction, perhaps a prepared one, holds a lock that this one waited for."""


_LOCK_NOT_AVAILABLE = "55P03"
# Classes of SQLSTATE that mean that the rows are wrong, whatever the state of the server: cardinality, data, integrity,
# a row's size, RAISE in our own functions, and rows that Postgres cannot read. Another attempt ends the same way.
_DATA_AT_FAULT = frozenset({"21", "22", "23", "54", "P0", "XX"})


# SQLAlchemy's errors, and the driver's own if it is called directly, as for COPY.
DATABASE_ERRORS = (DBAPIError, asyncpg.PostgresError)


def translated(error: Exception) -> IntegrityViolation | DatabaseFailure:
    """One of `DATABASE_ERRORS` with the first line of the database's message, without statement and parameters."""
    message = first_line(str(_original(error)))
    if isinstance(error, IntegrityError | asyncpg.IntegrityConstraintViolationError):
        return IntegrityViolation(message)
    return LockTimedOut(message) if sqlstate(error) == _LOCK_NOT_AVAILABLE else DatabaseFailure(message)


def sqlstate(error: Exception) -> str | None:
    """Of one of `DATABASE_ERRORS`; None if the error did not come from the server."""
    state: str | None = getattr(_original(error), "sqlstate", None)
    return state


def _original(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def blames_the_data(error: Exception) -> bool:
    """Whether the rows are at fault, as reported by a server, by the driver, or by a bug of ours that they trigger.

    False if a server is away, slow or full, if two transactions conflicted, or if this process lacks a permission.
    """
    if isinstance(error, DATABASE_ERRORS):
        return (sqlstate(error) or "")[:2] in _DATA_AT_FAULT
    return not isinstance(error, ShardwiseError | SQLAlchemyError | OSError | MemoryError)
