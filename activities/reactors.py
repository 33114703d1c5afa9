"""Starts the reactors of choreographed orders: one shard's consumer of its outbox.

Its position is stored on the shard, its effects are in Temporal: it moves the position when all reactors of a slice are
started, and after a crash it reads the same events again. A reactor's workflow is named after its event, so that it is
not started twice. It is started again if it failed or was terminated, and also if it completed while the order's row
still waits for it: then the shard was restored to a time before the reactor's effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

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
from domain.outages import why_unreachable
from shards.connections.database import Database
from shards.connections.database_errors import blames_the_data
from shards.orders.events import StoredEvent, newest, newest_versions, read_choreographed
from shards.outbox import cursors, parked_events
from shards.outbox.cursors import REACTORS
from shards.outbox.parked_events import ParkedEvent
from shards.outbox.slice import Slice, Taken, has_events_after, slice_from
from shards.routing.shard_transaction import translating_errors

SAGA = SearchAttributeKey.for_keyword("Saga")
"""The saga id, on every workflow of a choreographed order: what `order/<id>` is to an orchestrated one."""
SHARD = SearchAttributeKey.for_keyword("Shard")

STARTED_AT_ONCE_MAX = 20
# Few enough for a step of a few seconds, so that its caller can see that it is alive.
EVENTS_MAX = 200
# After a worker's death its workflow tasks wait this long for another one.
TASK_TIMEOUT = timedelta(seconds=5)

T = TypeVar("T")

log = logging.getLogger("shardwise.reactors")


@dataclass(frozen=True, slots=True)
class _Poison:
    event: StoredEvent
    reason: str


class ReactorStarter:
    """`shards.outbox.slice` says what it reads, and why no event is skipped."""

    name = REACTORS

    def __init__(self, shard: Database, client: Client) -> None:
        self._shard = shard
        self._client = client
        self._turns = asyncio.Semaphore(STARTED_AT_ONCE_MAX)

    async def take_next(self) -> Taken:
        """Takes the next slice. An event that cannot be processed is parked (a dead letter), with its reason; the
        others go on.

        Idempotent. A crash leaves the position where it was. Raises `Unreachable` if the shard or Temporal does not
        answer.
        """
        with translating_errors(self._shard.name):
            async with self._shard.snapshot() as snapshot:
                position = await cursors.read_position(snapshot, self.name)
                slice_ = await slice_from(snapshot, position, EVENTS_MAX)
                events, count = await read_choreographed(snapshot, slice_)
                more = await has_events_after(snapshot, slice_)
            taken = await self._all(self._start_reactors_to(event) for event in events)
            await self._start_again([each for each in taken if isinstance(each, OrderEvent)])
            # An idle shard's horizon moves too: without events the position need not be stored.
            if count:
                await self._move_position(slice_, [each for each in taken if isinstance(each, _Poison)])
        return Taken(count, more)

    async def retry_parked(self) -> int:
        """Retries every parked event by its order's row: if the event is still the newest, it starts the reactors that
        are due; if the order has gone on or is gone, nothing is due. In both cases the event is no longer parked.
        Returns how many events still are. Raises `Unreachable`."""
        still_parked, after = 0, None
        with translating_errors(self._shard.name):
            while page := await self._parked_after(after):
                for parked in page:
                    still_parked += not await self._is_unparked(parked)
                after = page[-1]
        return still_parked

    async def _parked_after(self, after: ParkedEvent | None) -> Sequence[ParkedEvent]:
        async with self._shard.transaction() as connection:
            return await parked_events.list_parked(connection, self.name, after=after)

    async def _is_unparked(self, parked: ParkedEvent) -> bool:
        try:
            async with self._shard.transaction() as connection:
                event = await newest(connection, parked.aggregate_id)
            if event is not None and event.version == parked.version:
                for reactor in REACTIONS[event.kind]:
                    await self._start(reactor, event, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        except InvalidInput:
            return False
        async with self._shard.transaction() as connection:
            await parked_events.unpark(connection, self.name, parked)
        return True

    async def _all(self, work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """If one raises, the others are cancelled: they would wait as long for Temporal, and fail the same way."""
        tasks = [asyncio.create_task(each) for each in work]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for each in tasks:
                each.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _start_reactors_to(self, stored: StoredEvent) -> _Poison | OrderEvent | None:
        """None: its reactors have begun. The event, if one of them had begun before."""
        try:
            event = stored.parsed()
            policy = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY
            begun = [await self._start(reactor, event, policy) for reactor in REACTIONS[event.kind]]
        except InvalidInput as fault:
            return _Poison(stored, fault.message)
        except Exception as error:
            if not blames_the_data(error):
                raise
            return _Poison(stored, f"{type(error).__name__}: {error}")
        return None if all(begun) else event

    async def _start_again(self, begun_before: Sequence[OrderEvent]) -> None:
        """Starts reactors that completed before again, if their event is still the newest of its order: their effect is
        missing, or repeating it changes nothing."""
        if not begun_before:
            return
        async with self._shard.transaction() as connection:
            versions = await newest_versions(connection, [event.order_id for event in begun_before])
        again = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        due = [event for event in begun_before if versions.get(event.order_id) == event.version]
        await self._all(self._start(reactor, event, again) for event in due for reactor in REACTIONS[event.kind])

    async def _start(self, reactor: Reactor, event: OrderEvent, policy: WorkflowIDReusePolicy) -> bool:
        async with self._turns:
            return await start_reactor(self._client, reactor, event, self._shard.name, policy)

    async def _move_position(self, slice_: Slice, poison: Sequence[_Poison]) -> None:
        async with self._shard.transaction() as connection:
            for each in poison:
                message = f"{each.event.kind} of order {each.event.aggregate_id} is parked: {each.reason}"
                log.error(message, extra={"shard": self._shard.name, "code": "event_parked"})
                await parked_events.park(connection, self.name, each.event, each.reason)
            await cursors.move_position(connection, self.name, slice_.end)


async def start_reactor(
    client: Client,
    reactor: Reactor,
    event: OrderEvent,
    shard: str,
    reuse_policy: WorkflowIDReusePolicy,
    task_queue: str | None = None,
) -> bool:
    """Starts the reactor on its service's queue. True: it begins now. False: it is running, or has run and
    `reuse_policy` forbids another run. `shard`: the customer's. Idempotent.

    `InvalidInput` if Temporal would never accept it, `Unreachable` if it does not answer.
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
        return False
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise InvalidInput(reactor, f"Temporal refuses {reactor}: {error.message}") from error
        raise Unreachable(
            "temporal_unreachable", f"Temporal does not answer: {why_unreachable(error.message)}"
        ) from error
    return True
