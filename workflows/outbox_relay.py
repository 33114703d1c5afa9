"""Follows one shard's outbox for ever: what is decided on the shard reaches the read model and the reactors.

The loops are activities that heartbeat: a workflow's history is no place for each event. Each consumer has one of its
own, so that one that cannot go on holds up none of the others. When its worker dies Temporal gives it to another, which
goes on at the position that was kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

from activities.interfaces import FollowShard, RelayActivities
from workflows.interfaces import CALL_SECONDS, FollowOutbox

TASK_QUEUE = "outbox"

SHARD = SearchAttributeKey.for_keyword("Shard")

# A hundred of each are a history of some 2,000 events and most of a day.
CALLS_MAX = 100
# Longer than a call, which also has to end what it has begun.
START_TO_CLOSE = timedelta(seconds=CALL_SECONDS + 60)
# A worker that is gone for so long is gone.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2))

Follow = Callable[[Any, FollowShard], Coroutine[Any, Any, int]]


def workflow_id(shard: str) -> str:
    return f"outbox-relay/{shard}"


@workflow.defn(name="OutboxRelay")
class OutboxRelay:
    @workflow.run
    async def run(self, request: FollowOutbox) -> None:
        followers = [
            asyncio.create_task(self._follow(RelayActivities.project_events, request, "into the read model")),
            asyncio.create_task(self._follow(RelayActivities.start_reactors, request, "for the reactors")),
            asyncio.create_task(self._follow(RelayActivities.trim_outbox, request, "and trim it")),
        ]
        # None waits for another: one that is stuck would have the others end.
        ended, others = await workflow.wait(followers, return_when=asyncio.FIRST_COMPLETED)
        for each in others:
            each.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for each in ended:
            each.result()
        workflow.continue_as_new(request)

    async def _follow(self, consumer: Follow, request: FollowOutbox, why: str) -> None:
        for _ in range(CALLS_MAX):
            await workflow.execute_activity_method(
                consumer,
                FollowShard(request.shard, request.call_seconds),
                summary=f"follow the outbox of {request.shard} {why}",
                start_to_close_timeout=START_TO_CLOSE,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            if workflow.info().is_continue_as_new_suggested():
                break
