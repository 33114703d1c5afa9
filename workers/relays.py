"""One outbox relay for each shard: there whenever a worker is that can run it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy
from temporalio.service import RPCError

from workflows.interfaces import FollowOutbox
from workflows.outbox_relay import SHARD, TASK_QUEUE, OutboxRelay, workflow_id

log = logging.getLogger("shardwise.worker")

# One that was terminated, or lost with Temporal's store, is back after this time.
LOOK_EVERY_SECONDS = 30.0
TASK_TIMEOUT = timedelta(seconds=5)


async def keep_relays(client: Client, shards: Iterable[str]) -> None:
    """Has them run, and looks after them until cancelled. Any number of workers may."""
    names = list(shards)
    while True:
        for shard in names:
            try:
                await start_relay(client, shard)
            except RPCError as error:
                log.warning("the relay of %s could not be started: %s", shard, error.message, extra={"shard": shard})
        await asyncio.sleep(LOOK_EVERY_SECONDS)


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
