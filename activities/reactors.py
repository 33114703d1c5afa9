"""Starts the reactors of choreographed orders: one shard's consumer of its outbox.

Its position lies on the shard, its effects in Temporal: it moves the position when all reactors of a stretch are
started, and after a crash it meets their events again. A reactor is named after its event, so that it is not started
twice; one that failed or was terminated is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client
from temporalio.common import (
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.choreography import REACTIONS, OrderEvent, Reactor, reactor_id
from domain.errors import InvalidInput, Unreachable
from shards import outbox_cursors
from shards.engines import Database
from shards.order_events import StoredEvent, read_choreographed
from shards.outbox_cursors import REACTORS
from shards.outbox_stretch import Stepped, Stretch, more_behind, stretch_after
from shards.routing import failures_on

SAGA = SearchAttributeKey.for_keyword("Saga")
"""The saga id, on every workflow of a choreographed order: what `order/<id>` is to an orchestrated one."""
SHARD = SearchAttributeKey.for_keyword("Shard")

STARTED_AT_ONCE_MAX = 20
# A step of a few seconds at most, so that its caller can tell that it is alive.
EVENTS_MAX = 200
# After a worker's death its workflow tasks wait this long for another one.
TASK_TIMEOUT = timedelta(seconds=5)

log = logging.getLogger("shardwise.reactors")


@dataclass(frozen=True, slots=True)
class _Poison:
    event: StoredEvent
    reason: str


class ReactorStarter:
    """See `shards.outbox_stretch` for what it reads and why nothing is skipped."""

    name = REACTORS

    def __init__(self, shard: Database, client: Client) -> None:
        self._shard = shard
        self._client = client
        self._turns = asyncio.Semaphore(STARTED_AT_ONCE_MAX)

    async def step(self) -> Stepped:
        """Takes the next stretch. An event that no reactor could take is parked, with its reason; the others go on.

        Idempotent. A crash anywhere leaves the position where it was. Raises `Unreachable` where the shard or Temporal
        does not answer.
        """
        with failures_on(self._shard.name):
            async with self._shard.snapshot() as snapshot:
                position = await outbox_cursors.read_position(snapshot, self.name)
                stretch = await stretch_after(snapshot, position, EVENTS_MAX)
                events, count = await read_choreographed(snapshot, stretch)
                more = await more_behind(snapshot, stretch)
            poison = await self._take_all(events)
            # An idle shard's horizon moves too: without events there is nothing to note.
            if count:
                await self._move(stretch, poison)
        return Stepped(count, more)

    async def _take_all(self, events: Sequence[StoredEvent]) -> list[_Poison]:
        """The first that finds nobody there ends it for all: each would wait as long to learn the same."""
        taking = [asyncio.create_task(self._take(event)) for event in events]
        try:
            return [each for each in await asyncio.gather(*taking) if each is not None]
        finally:
            for each in taking:
                each.cancel()
            if taking:
                await asyncio.wait(taking)

    async def _take(self, stored: StoredEvent) -> _Poison | None:
        try:
            event = stored.parsed()
            for reactor in REACTIONS[event.kind]:
                async with self._turns:
                    await self._start(reactor, event)
        except InvalidInput as fault:
            return _Poison(stored, fault.message)
        return None

    async def _start(self, reactor: Reactor, event: OrderEvent) -> None:
        policy = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
        await start_reactor(self._client, reactor, event, self._shard.name, policy)

    async def _move(self, stretch: Stretch, poison: Sequence[_Poison]) -> None:
        async with self._shard.transaction() as connection:
            for each in poison:
                told = f"{each.event.kind} of order {each.event.aggregate_id} is left aside: {each.reason}"
                log.error(told, extra={"shard": self._shard.name, "code": "event_parked"})
                await outbox_cursors.park(connection, self.name, each.event, each.reason)
            await outbox_cursors.move(connection, self.name, stretch.end)


async def start_reactor(
    client: Client,
    reactor: Reactor,
    event: OrderEvent,
    shard: str,
    reuse_policy: WorkflowIDReusePolicy,
    task_queue: str | None = None,
) -> None:
    """Has it run on its service's queue; nothing where it runs, or has run and `reuse_policy` lets it rest. `shard`:
    the customer's. Idempotent.

    `InvalidInput` where Temporal would never take it, `Unreachable` where it does not answer.
    """
    attributes = [SearchAttributePair(SAGA, event.saga_id), SearchAttributePair(SHARD, shard)]
    try:
        await client.start_workflow(
            reactor.workflow_type,
            event,
            id=reactor_id(reactor, event.order_id, event.version),
            task_queue=task_queue or reactor.service,
            task_timeout=TASK_TIMEOUT,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            id_reuse_policy=reuse_policy,
            search_attributes=TypedSearchAttributes(attributes),
            static_summary=f"order {event.order_id}: {event.kind}, {event.choreography.total}",
        )
    except WorkflowAlreadyStartedError:
        pass
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise InvalidInput(reactor, f"Temporal refuses {reactor}: {error.message}") from error
        raise Unreachable("temporal_unreachable", f"Temporal does not answer: {error.message}") from error
