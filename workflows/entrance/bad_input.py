"""Bad input that only an activity can find. A module of its own, since each sandbox loads it: it builds no schema."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from temporalio.exceptions import ActivityError, ApplicationError

INVALID_INPUT = "invalid_input"


@contextmanager
def bad_input_refused() -> Iterator[None]:
    """Fails the workflow as its entrance would, with the code and the field, if an activity finds its input invalid,
    as when it names a shard that does not exist."""
    try:
        yield
    except ActivityError as error:
        cause = error.cause
        if not isinstance(cause, ApplicationError) or cause.type != INVALID_INPUT:
            raise
        raise ApplicationError(cause.message, *cause.details, type=INVALID_INPUT, non_retryable=True) from error
