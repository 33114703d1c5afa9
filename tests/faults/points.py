"""Where faults come in: around every attempt of an activity, and inside its transaction just before and after COMMIT.

The product's own activities run, on real shards, called by the product's own worker: the interceptor sits on the
client, where a worker finds it, and the router is a subclass that stops at its borders.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

import temporalio.client
import temporalio.worker
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.interfaces import AbortParticipant, ParticipantStep, StockStep
from domain.choreography import saga_id_of
from domain.shard_map import Route
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction

T = TypeVar("T")

# See `tests.support.world.RANGES`: the last range begins with its first product.
FAR_RANGE = "z"

Effect = Callable[[], Awaitable[Any]]


class Border(StrEnum):
    BEFORE = "before its commit"
    AFTER = "after its commit"


@dataclass(slots=True)
class Attempt:
    """One attempt of one step. `stop_at` is called where the transaction comes to a border."""

    activity: str
    request: Any
    number: int
    workflow_id: str
    stop_at: Callable[[Border], Awaitable[None]] | None = None

    def is_of(self, participant: str) -> bool:
        """Of an order's two stock steps the near one is left alone, of a two-phase commit's the other participant's."""
        if isinstance(self.request, StockStep):
            return self.request.share.sku_range == FAR_RANGE
        if isinstance(self.request, ParticipantStep | AbortParticipant):
            return self.request.participant == participant
        return True


class Watcher(Protocol):
    """What stands between the worker and the activities of one saga."""

    async def around(self, attempt: Attempt, effect: Effect) -> Any: ...


_attempt: ContextVar[Attempt] = ContextVar("attempt")


class Interceptor(temporalio.client.Interceptor, temporalio.worker.Interceptor):
    def __init__(self, watchers: Mapping[str, Watcher]) -> None:
        """`watchers` by saga id, looked up at each attempt."""
        self._watchers = watchers

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self._watchers)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, watchers: Mapping[str, Watcher]) -> None:
        super().__init__(next)
        self._watchers = watchers

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        watcher = self._watchers.get(saga_id_of(info.workflow_id or ""))
        if watcher is None:
            return await self.next.execute_activity(input)
        attempt = Attempt(info.activity_type, input.args[0], info.attempt, info.workflow_id or "")
        _attempt.set(attempt)
        return await watcher.around(attempt, lambda: self.next.execute_activity(input))


def intercepted(client: Client, watchers: Mapping[str, Watcher]) -> Client:
    """The same client; workers made with it have their activities watched."""
    config = client.config()
    config["interceptors"] = [Interceptor(watchers)]
    return Client(**config)


class StoppingRouter(Router):
    """The product's router, with the borders of each write where a fault can come in."""

    async def _attempt(self, route: Route, work: Callable[[ShardTransaction], Awaitable[T]]) -> T:
        attempt = _attempt.get(None)
        stop_at = attempt.stop_at if attempt is not None else None
        if stop_at is None:
            return await super()._attempt(route, work)

        async def work_up_to_the_commit(tx: ShardTransaction) -> T:
            result = await work(tx)
            await stop_at(Border.BEFORE)
            return result

        result = await super()._attempt(route, work_up_to_the_commit)
        await stop_at(Border.AFTER)
        return result
