"""What every activity shares: its failures told to Temporal in one way."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError
from temporalio.exceptions import ApplicationError

from domain.errors import ShardwiseError
from shards.integrity import IntegrityViolation

P = ParamSpec("P")
R = TypeVar("R")


def failures_told(effect: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Failures as `ApplicationError` with a code as type: non-retryable where no retry can mend them.

    The cause is cut off: a traceback of the driver in every history and log line hides the sentence.
    """

    @functools.wraps(effect)
    async def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await effect(*args, **kwargs)
        except IntegrityViolation as error:
            raise ApplicationError(error.message, type=error.code, non_retryable=True) from None
        except IntegrityError as error:
            raise ApplicationError(_said(error), type="integrity_violation", non_retryable=True) from None
        except DBAPIError as error:
            raise ApplicationError(_said(error), type="database_error") from None
        except ShardwiseError as error:
            raise ApplicationError(error.message, type=error.code) from None

    return told


def _said(error: DBAPIError) -> str:
    """The database's own first line, without the statement and its parameters: those are the customers' data."""
    return str(error.orig).splitlines()[0]
