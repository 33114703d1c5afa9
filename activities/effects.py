"""Shared by all activities: failures reach Temporal and the log in one form."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from domain.errors import ShardwiseError
from domain.identifiers import shown
from shards.connections.cluster import Cluster
from shards.connections.database_errors import IntegrityViolation
from shards.connections.shard import Shard

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("shardwise.step")

GIVEN_UP = ShardwiseError("given_up", "the attempt ran out of time, or nobody waits for it any more")


class StepFailure(ApplicationError):
    """A failed attempt, as Temporal gets it. `logged`: its log line is already written."""

    logged = True


def failures_translated(effect: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Raises failures as `ApplicationError` with a code as type: non-retryable if no retry can mend them.

    The cause is cut off: a driver's traceback in every history and log line would hide the sentence.
    """

    @functools.wraps(effect)
    async def translated(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await effect(*args, **kwargs)
        except asyncio.CancelledError:
            _log(GIVEN_UP)
            raise
        except ShardwiseError as error:
            _log(error)
            is_final = isinstance(error, IntegrityViolation)
            raise StepFailure(error.message, type=error.code, non_retryable=is_final) from None

    return translated


def shard_of(cluster: Cluster, shard: str) -> Shard:
    """The shard of this name. Call it after the shard map was read: then an unknown name is a failure for good."""
    if shard not in cluster.shards:
        expected = ", ".join(sorted(cluster.shards))
        message = f"shard: expected one of {expected}, got {shown(shard)}"
        raise StepFailure(message, {"field": "shard"}, type="invalid_input", non_retryable=True)
    return cluster.shards[shard]


def _log(error: ShardwiseError) -> None:
    fields: dict[str, object] = {"code": error.code, "shard": error.shard}
    if activity.in_activity():
        attempt = activity.info()
        fields |= {"saga": attempt.workflow_id, "step": attempt.activity_type, "attempt": attempt.attempt}
    level = logging.ERROR if isinstance(error, IntegrityViolation) else logging.WARNING
    log.log(level, error.message, extra=fields)
