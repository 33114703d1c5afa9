"""Starts the reactors of choreographed orders: one shard's consumer of its outbox.

Its position lies on the shard, its effects in Temporal: it moves the position when all reactors of a slice are
started, and after a crash it meets their events again. A reactor is named after its event, so that it is not started
twice; one that failed or was terminated is, and so is one that has completed where the order's row still waits for it:
the shard was restored to before what it did.
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
from shards.outbox.slice import Slice, StepResult, more_behind, slice_after
from shards.routing.shard_transaction import translating_errors

SAGA = SearchAttributeKey.for_keyword("Saga")
"""The saga id, on every workflow of a choreographed order: what `order/<id>` is to an orchestrated one."""
SHARD = SearchAttributeKey.for_keyword("Shard")

STARTED_AT_ONCE_MAX = 20
# A step of a few seconds at most, so that its caller can tell that it is alive.
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
    """See `shards.outbox.slice` for what it reads and why nothing is skipped."""

    name = REACTORS

    def __init__(self, shard: Database, client: Client) -> None:
        self._shard = shard
        self._client = client
        self._turns = asyncio.Semaphore(STARTED_AT_ONCE_MAX)

    async def step(self) -> StepResult:
        """Takes the next slice. An event that no reactor could take is parked, with its reason; the others go on.

        Idempotent. A crash anywhere leaves the position where it was. Raises `Unreachable` where the shard or Temporal
        does not answer.
        """
        with translating_errors(self._shard.name):
            async with self._shard.snapshot() as snapshot:
                position = await cursors.read_position(snapshot, self.name)
                slice_ = await slice_after(snapshot, position, EVENTS_MAX)
                events, count = await read_choreographed(snapshot, slice_)
                more = await more_behind(snapshot, slice_)
            taken = await self._all(self._take(event) for event in events)
            await self._start_again([each for each in taken if isinstance(each, OrderEvent)])
            # An idle shard's horizon moves too: without events there is nothing to note.
            if count:
                await self._move(slice_, [each for each in taken if isinstance(each, _Poison)])
        return StepResult(count, more)

    async def retry_parked(self) -> int:
        """Starts what is due by the rows of orders whose events were parked: how many events still are. One whose order
        has gone on since, or is gone, is parked no longer. Raises `Unreachable`."""
        still, after = 0, None
        with translating_errors(self._shard.name):
            while page := await self._parked_behind(after):
                for parked in page:
                    still += not await self._is_unparked(parked)
                after = page[-1]
        return still

    async def _parked_behind(self, after: ParkedEvent | None) -> Sequence[ParkedEvent]:
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
        """The first that finds nobody there ends it for all: each would wait as long to learn the same."""
        taking = [asyncio.create_task(each) for each in work]
        try:
            return await asyncio.gather(*taking)
        finally:
            for each in taking:
                each.cancel()
            if taking:
                await asyncio.wait(taking)

    async def _take(self, stored: StoredEvent) -> _Poison | OrderEvent | None:
        """None: its reactors have begun. The event, where one had begun before."""
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
        """Reactors that Temporal has seen complete, of events that still are the newest of their orders: what they did
        is not there, or it is done and doing it again changes nothing."""
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

    async def _move(self, slice_: Slice, poison: Sequence[_Poison]) -> None:
        async with self._shard.transaction() as connection:
            for each in poison:
                told = f"{each.event.kind} of order {each.event.aggregate_id} is left aside: {each.reason}"
                log.error(told, extra={"shard": self._shard.name, "code": "event_parked"})
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
    """Has it run on its service's queue: True where it begins now, False where it runs, or has run and `reuse_policy`
    lets it rest. `shard`: the customer's. Idempotent.

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
        return False
    except RPCError as error:
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            raise InvalidInput(reactor, f"Temporal refuses {reactor}: {error.message}") from error
        raise Unreachable(
            "temporal_unreachable", f"Temporal does not answer: {why_unreachable(error.message)}"
        ) from error
    return True
