"""Workers as Temporal knows them: whoever polls a task queue, wherever it was started.

Temporal lists a poller for some minutes after its last poll. An idle worker polls once a minute, so a worker that was
killed is still listed for that long.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence

import psutil  # type: ignore[import-untyped]
from pydantic import BaseModel
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from domain.choreography import Service
from stack.embedded.status import WorkerStatus
from workflows.orders.saga import TASK_QUEUE as ORDERS
from workflows.outbox_relay import TASK_QUEUE as OUTBOX
from workflows.transfers.transfer import TASK_QUEUE as TRANSFERS

# An idle worker's poll lasts a minute: one that has not polled for longer is gone, though still listed.
POLLED_WITHIN_SECONDS = 75
QUEUES = tuple(dict.fromkeys((ORDERS, *Service, TRANSFERS, OUTBOX)))
_TYPES = (TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW, TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY)


class PollingWorker(BaseModel):
    """`identity` is its name and pid, or its pid and machine if it was given no name."""

    identity: str
    queues: list[str]
    polled_seconds_ago: float


async def pollers_of(client: Client, queue: str, kind: TaskQueueType.ValueType) -> Sequence[PollerInfo]:
    """The pollers of the queue in the last minute or so. Raises `RPCError`."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
    )
    oldest = time.time() - POLLED_WITHIN_SECONDS
    pollers = (await client.workflow_service.describe_task_queue(request)).pollers
    return [each for each in pollers if each.last_access_time.ToSeconds() > oldest]


async def polling_workers(client: Client) -> list[PollingWorker]:
    """The workers that have polled one of our queues lately, by identity. Raises `RPCError`."""
    polls = [(queue, kind) for queue in QUEUES for kind in _TYPES]
    answers = await asyncio.gather(*(pollers_of(client, *each) for each in polls))
    queues: dict[str, set[str]] = defaultdict(set)
    polled_at: dict[str, float] = defaultdict(float)
    for (queue, _), pollers in zip(polls, answers, strict=True):
        for each in pollers:
            queues[each.identity].add(queue)
            at = each.last_access_time.ToMilliseconds() / 1000
            polled_at[each.identity] = max(polled_at[each.identity], at)
    now = time.time()
    return [
        PollingWorker(
            identity=identity,
            queues=[queue for queue in QUEUES if queue in queues[identity]],
            polled_seconds_ago=round(max(now - polled_at[identity], 0), 1),
        )
        for identity in sorted(queues)
    ]


def started_by_hand(polling: Sequence[PollingWorker], embedded: Sequence[WorkerStatus]) -> list[PollingWorker]:
    """The workers that are not embedded ones, nor dead predecessors of these."""
    names = {each.name for each in embedded}
    current = {f"{each.name}@{each.pid}" for each in embedded}
    return [each for each in polling if each.identity not in current and not _is_dead(each.identity, names)]


def _is_dead(identity: str, names: set[str]) -> bool:
    name, _, pid = identity.rpartition("@")
    return name in names and pid.isdecimal() and not psutil.pid_exists(int(pid))
