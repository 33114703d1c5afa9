"""Keeps one outbox relay for each shard running, while a worker can run it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from workers.lasting.keeping import Start
from workflows.interfaces import FollowOutbox
from workflows.outbox_relay import SHARD, TASK_QUEUE, OutboxRelay, workflow_id

TASK_TIMEOUT = timedelta(seconds=5)


def relays(client: Client, shards: Iterable[str]) -> dict[str, Start]:
    """For `workers.lasting.keeping`."""
    return {workflow_id(shard): partial(start_relay, client, shard) for shard in shards}


async def start_relay(client: Client, shard: str) -> None:
    """Joins one that runs. Raises `RPCError`."""
    await client.start_workflow(
        OutboxRelay.run,
        FollowOutbox(shard),
        id=workflow_id(shard),
        task_queue=TASK_QUEUE,
        task_timeout=TASK_TIMEOUT,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        search_attributes=TypedSearchAttributes([SearchAttributePair(SHARD, shard)]),
        static_summary=f"what follows from the events of {shard}",
    )
