"""What every activity shares: its failures reach Temporal and the log in one way."""

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
    """A failed attempt, as Temporal gets it. `logged`: its one line is written already."""

    logged = True


def failures_translated(effect: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Failures as `ApplicationError` with a code as type: non-retryable where no retry can mend them.

    The cause is cut off: a traceback of the driver in every history and log line hides the sentence.
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
            hopeless = isinstance(error, IntegrityViolation)
            raise StepFailure(error.message, type=error.code, non_retryable=hopeless) from None

    return translated


def shard_of(cluster: Cluster, shard: str) -> Shard:
    """The shard of this name. Once the shard map has been read, one that is not there is one that nobody has: the
    failure is for good.
    """
    if shard not in cluster.shards:
        expected = ", ".join(sorted(cluster.shards))
        message = f"shard: expected one of {expected}, got {shown(shard)}"
        raise StepFailure(message, {"field": "shard"}, type="invalid_input", non_retryable=True)
    return cluster.shards[shard]


def _log(error: ShardwiseError) -> None:
    where: dict[str, object] = {"code": error.code, "shard": error.shard}
    if activity.in_activity():
        attempt = activity.info()
        where |= {"saga": attempt.workflow_id, "step": attempt.activity_type, "attempt": attempt.attempt}
    level = logging.ERROR if isinstance(error, IntegrityViolation) else logging.WARNING
    log.log(level, error.message, extra=where)
