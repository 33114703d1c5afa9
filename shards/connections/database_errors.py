"""What the database says no to, as errors of ours: no SQL, no parameters, those are the customers' data."""

from __future__ import annotations

import asyncpg
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError

from domain.errors import ShardwiseError
from domain.text import first_line


class IntegrityViolation(ShardwiseError):
    """What must never be found in the tables. The transaction was rolled back, and no retry can mend it: a person
    has to look."""

    def __init__(self, message: str) -> None:
        super().__init__("integrity_violation", message)


class DatabaseFailure(ShardwiseError):
    """A deadlock, a time-out, a full disk: the transaction was rolled back, and another attempt may succeed."""

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__("database_error", message)


class LockTimedOut(DatabaseFailure):
    """Somebody else holds what the transaction waited for, perhaps a prepared one."""


_LOCK_NOT_AVAILABLE = "55P03"
# Classes of SQLSTATE that blame the rows, and neither the server nor the moment: cardinality, data, integrity, a row's
# size, RAISE in our own functions, and what Postgres itself cannot read. Another attempt ends the same way.
_DATA_AT_FAULT = frozenset({"21", "22", "23", "54", "P0", "XX"})


# SQLAlchemy's, and the driver's own where it is asked directly, as for COPY.
DATABASE_ERRORS = (DBAPIError, asyncpg.PostgresError)


def translated(error: Exception) -> IntegrityViolation | DatabaseFailure:
    """One of `DATABASE_ERRORS` in the database's own first line, without the statement and its parameters."""
    said = first_line(str(_said(error)))
    if isinstance(error, IntegrityError | asyncpg.IntegrityConstraintViolationError):
        return IntegrityViolation(said)
    return LockTimedOut(said) if sqlstate(error) == _LOCK_NOT_AVAILABLE else DatabaseFailure(said)


def sqlstate(error: Exception) -> str | None:
    """Of one of `DATABASE_ERRORS`; None where it was not the server that said so."""
    state: str | None = getattr(_said(error), "sqlstate", None)
    return state


def _said(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def blames_the_data(error: Exception) -> bool:
    """Whether the rows are what is wrong, whoever says so: a server, the driver, or a bug of ours that they show.

    Not where a server is away, slow or full, two transactions met, or this process may not do it at all.
    """
    if isinstance(error, DATABASE_ERRORS):
        return (sqlstate(error) or "")[:2] in _DATA_AT_FAULT
    return not isinstance(error, ShardwiseError | SQLAlchemyError | OSError | MemoryError)
