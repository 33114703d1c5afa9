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


def told(error: DBAPIError) -> IntegrityViolation | DatabaseFailure:
    """The database's own first line, without the statement and its parameters."""
    first_line = next(iter(str(error.orig).splitlines()), "")
    return IntegrityViolation(first_line) if isinstance(error, IntegrityError) else DatabaseFailure(first_line)
