"""Choreographed orders in the battery: what starts their reactors, on which queue, and when one counts as at rest."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy

from activities.reactors import ReactorStarter, start_reactor
from domain.choreography import OrderEvent, Reactor, Service
from shards.audit.sagas.gathering import gather, gather_consistent
from shards.audit.sagas.judgement import judge
from shards.audit.workflows import Work, together
from shards.connections.cluster import Cluster
from shards.connections.database import Database
from shardwise.temporal.states import TemporalWorkflowStates
from workers.run import HOSTED, Hosted

EVERY_SERVICE = "every-service"
"""The activities of all four services on one queue: for a worker that dies with all of an order's work."""
POLL_SECONDS = 0.3


def host_every_service() -> None:
    hosted = [HOSTED[service] for service in Service]
    HOSTED[EVERY_SERVICE] = Hosted(
        [workflow for each in hosted for workflow in each.workflows],
        lambda wiring: list({each.__name__: each for one in hosted for each in one.activities(wiring)}.values()),
    )


class QueuedStarter(ReactorStarter):
    """The product's, with the queue of those orders whose worker is to die."""

    def __init__(self, shard: Database, client: Client, queues: Mapping[str, str]) -> None:
        """`queues` by saga id, looked up at each event."""
        super().__init__(shard, client)
        self._queues = queues

    async def _start(self, reactor: Reactor, event: OrderEvent, policy: WorkflowIDReusePolicy) -> bool:
        queue = self._queues.get(event.saga_id)
        return await start_reactor(self._client, reactor, event, self._shard.name, policy, queue)


class Resting:
    """Finds out when an order has ended, for all waiting cases at once: no workflow leads it, so its rows are read."""

    def __init__(self, cluster: Cluster, client: Client) -> None:
        self._cluster = cluster
        self._states = TemporalWorkflowStates(client)
        self._waiting: dict[str, asyncio.Event] = {}
        self._polling: asyncio.Task[None] | None = None

    async def at_its_end(self, saga_id: str) -> None:
        ended = self._waiting.setdefault(saga_id, asyncio.Event())
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            await ended.wait()
        finally:
            self._waiting.pop(saga_id, None)

    async def abandoned_or_at_its_end(self, saga_id: str) -> None:
        """Waits for one that was terminated until no workflow works on it, whatever its state."""
        while await self._is_worked_on(saga_id):  # noqa: ASYNC110 - it is rows and other processes that are waited for
            await asyncio.sleep(POLL_SECONDS)

    async def workflow_ids(self, saga_id: str) -> Sequence[str]:
        """The workflows that work on it now."""
        return (await gather(self._cluster, [saga_id]))[saga_id].workflow_ids

    async def _is_worked_on(self, saga_id: str) -> bool:
        """As `verify` finds it out: a cut between two looks at the workflows."""
        looked_at = await self.workflow_ids(saga_id)
        before = together([await self._states.state_of(each) for each in looked_at])
        still = (await gather_consistent(self._cluster, [saga_id])).get(saga_id)
        if still is None or still.workflow_ids != looked_at or still.is_unread:
            return True
        after = together([await self._states.state_of(each) for each in looked_at])
        return after.work is Work.OPEN or (bool(judge(still)) and before != after)

    async def _poll(self) -> None:
        while self._waiting:
            for saga_id, dossier in (await gather(self._cluster, list(self._waiting))).items():
                is_whole = dossier.is_known and not judge(dossier) and not dossier.is_unread
                if is_whole and saga_id in self._waiting:
                    self._waiting[saga_id].set()
            await asyncio.sleep(POLL_SECONDS)
