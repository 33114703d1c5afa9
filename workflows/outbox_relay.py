"""Follows one shard's outbox for ever: what is decided on the shard reaches the read model and the reactors.

The loop is an activity that heartbeats: a workflow's history is no place for each event. When its worker dies Temporal
gives it to another, which goes on at the positions that were kept.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic.dataclasses import dataclass
from temporalio import workflow
from temporalio.common import RetryPolicy, SearchAttributeKey

from activities.interfaces import RelayActivities, RelayOutbox

TASK_QUEUE = "outbox"

SHARD = SearchAttributeKey.for_keyword("Shard")

# One call of the activity. A hundred of them are a history of some 600 events and most of a day.
CALL_SECONDS = 600.0
CALLS_MAX = 100
# Longer than a call, which also has to end what it has begun.
START_TO_CLOSE = timedelta(seconds=CALL_SECONDS + 60)
# A worker that is gone for so long is gone.
HEARTBEAT_TIMEOUT = timedelta(seconds=5)
RETRY = RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2))


def workflow_id(shard: str) -> str:
    return f"outbox-relay/{shard}"


@dataclass(frozen=True, slots=True)
class FollowOutbox:
    shard: str
    call_seconds: float = CALL_SECONDS


@workflow.defn(name="OutboxRelay")
class OutboxRelay:
    @workflow.run
    async def run(self, request: FollowOutbox) -> None:
        for _ in range(CALLS_MAX):
            await workflow.execute_activity_method(
                RelayActivities.relay_outbox,
                RelayOutbox(request.shard, request.call_seconds),
                summary=f"follow the outbox of {request.shard}",
                start_to_close_timeout=START_TO_CLOSE,
                heartbeat_timeout=HEARTBEAT_TIMEOUT,
                retry_policy=RETRY,
            )
            if workflow.info().is_continue_as_new_suggested():
                break
        workflow.continue_as_new(request)
