"""Follows one shard's outbox for ever, so that its events reach the read model and the reactors.

The loops are activities that heartbeat: a workflow's history is no place for single events. Each consumer has an
activity of its own, so that a consumer that is blocked does not hold up the others. When a worker dies, Temporal gives
its activity to another, which goes on at the stored position.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

from activities.interfaces import ConsumerPosition, Followed, FollowShard, RelayActivities
from workflows.entrance.bad_input import bad_input_refused
from workflows.interfaces import CALL_SECONDS, FollowOutbox
from workflows.visibility import with_items

TASK_QUEUE = "outbox"

SHARD = SearchAttributeKey.for_keyword("Shard")

# A hundred calls for each consumer make a history of some 2,000 events, and last most of a day.
CALLS_MAX = 100
# Longer than a call, which also has to finish its last slice.
START_TO_CLOSE = timedelta(seconds=CALL_SECONDS + 60)
# A worker that is silent for so long is taken for dead.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2))

# The first calls are shorter, so that the details soon have positions to show and the three calls end in turn.
FIRST_SECONDS = 5.0

Follow = Callable[[Any, FollowShard], Coroutine[Any, Any, Followed | int]]


def workflow_id(shard: str) -> str:
    return f"outbox-relay/{shard}"


@workflow.defn(name="OutboxRelay")
class OutboxRelay:
    @workflow.run
    async def run(self, request: FollowOutbox) -> None:
        workflow.set_current_details(_about(request.shard))
        followers = [
            asyncio.create_task(self._follow(RelayActivities.project_events, request, "into the read model", 0)),
            asyncio.create_task(self._follow(RelayActivities.start_reactors, request, "for the reactors", 1 / 3)),
            asyncio.create_task(self._follow(RelayActivities.trim_outbox, request, "and trim it", 2 / 3)),
        ]
        # When one ends, all end: waiting for one that is blocked would leave the others at rest.
        ended, others = await workflow.wait(followers, return_when=asyncio.FIRST_COMPLETED)
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        with bad_input_refused():
            for each in ended:
                each.result()
        workflow.continue_as_new(request)

    async def _follow(self, consumer: Follow, request: FollowOutbox, why: str, first: float) -> None:
        """`first`: the first call lasts this fraction of a call's time, and `FIRST_SECONDS` more."""
        seconds = min(request.call_seconds, first * request.call_seconds + FIRST_SECONDS)
        for _ in range(CALLS_MAX):
            followed = await workflow.execute_activity_method(
                consumer,
                FollowShard(request.shard, seconds),
                summary=f"follow the outbox of {request.shard} {why}",
                start_to_close_timeout=START_TO_CLOSE,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            seconds = request.call_seconds
            if isinstance(followed, Followed) and followed.standing:
                workflow.set_current_details(f"{_rendered(followed)}\n\n{_about(request.shard)}")
            if workflow.info().is_continue_as_new_suggested():
                break


def _about(shard: str) -> str:
    """Set anew in each run: after continue-as-new, a run has neither the summary nor the details of its start."""
    return (
        f"Follows the events of {shard}. Its consumers' positions are as of when one of its activities last ended; "
        "`shardwise projection status` shows them as of now."
    )


def _rendered(followed: Followed) -> str:
    now = workflow.now()
    lines = [f"* {each.consumer} at {each.position}: {_lag(each)}" for each in followed.standing]
    trimmed = [f"* trimmed up to {followed.trimmed}"] if followed.trimmed is not None else []
    return with_items(f"as of {now:%Y-%m-%dT%H:%M:%SZ}", [*lines, *trimmed])


def _lag(each: ConsumerPosition) -> str:
    if each.is_lost:
        return "its position is of another history of the shard"
    return f"{each.events} events behind, the oldest for {each.seconds:.1f} s" if each.events else "nothing behind"
