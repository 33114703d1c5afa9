"""What the database says no to, as errors of ours: no SQL, no parameters, those are the customers' data."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, IntegrityError

from domain.errors import ShardwiseError


class IntegrityViolation(ShardwiseError):
    """What must never be found in the tables. The transaction was rolled back, and no retry can mend it: a person
    has to look."""

    def __init__(self, message: str) -> None:
        super().__init__("integrity_violation", message)


class DatabaseFailure(ShardwiseError):
    """A deadlock, a time-out, a full disk: the transaction was rolled back, and another attempt may succeed."""

    def __init__(self, message: str) -> None:
        super().__init__("database_error", message)


class LockTimedOut(DatabaseFailure):
    """Somebody else holds what the transaction waited for, perhaps a prepared one."""


_LOCK_NOT_AVAILABLE = "55P03"


def told(error: DBAPIError) -> IntegrityViolation | DatabaseFailure:
    """The database's own first line, without the statement and its parameters."""
    first_line = next(iter(str(error.orig).splitlines()), "")
    if isinstance(error, IntegrityError):
        return IntegrityViolation(first_line)
    return LockTimedOut(first_line) if sqlstate(error) == _LOCK_NOT_AVAILABLE else DatabaseFailure(first_line)


def sqlstate(error: DBAPIError) -> str | None:
    state: str | None = getattr(error.orig, "sqlstate", None)
    return state
