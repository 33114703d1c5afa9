"""A worker inside this process, on a queue of its own: its statements are traced, and its transfers can be held back.

The workflows, activities and statements are the product's. A transfer is held back in one activity, before its first
statement, which is where it would wait if its worker died there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import temporalio.worker
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.interfaces import ParticipantStep
from contrast.documents import Border
from contrast.probes.sent_statements import Trace
from domain.errors import ShardwiseError, Unreachable
from domain.steps import Step
from domain.transfers import Protocol, Transfer
from domain.two_phase import Participant
from shards.connections.cluster import Cluster
from shards.connections.waiting import within
from shards.routing.router import Router
from shardwise.connections import Connections
from shardwise.temporal.calls import WorkflowFailed, wait_for_result
from shardwise.transfers.sagas import Handle, TransferSagas
from stack.settings import Settings, resolve_databases
from workers.run import new_worker
from workflows.interfaces import TransferResult
from workflows.transfers.transfer import TASK_QUEUE

# The same in every run, so that the next run carries out what a killed one has left behind.
QUEUE = "contrast"
REACHED_SECONDS_MAX = 60.0
ENDED_SECONDS_MAX = 60.0

_HELD_BACK: dict[Border, tuple[Step, Participant | None]] = {
    Border.SAGA_IN_CLEARING: (Step.CREDIT_TRANSFER, None),
    Border.VOTES_IN: (Step.COMMIT_PARTICIPANT, Participant.SOURCE),
    Border.HALF_COMMITTED: (Step.COMMIT_PARTICIPANT, Participant.TARGET),
}


@dataclass(slots=True)
class Pause:
    """`reached`: the activity waits for `released`."""

    border: Border
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def is_before(self, name: str, argument: Any) -> bool:
        held_back, participant = _HELD_BACK[self.border]
        if name != held_back:
            return False
        return participant is None or (isinstance(argument, ParticipantStep) and argument.participant is participant)


class Pauses(temporalio.worker.Interceptor):
    def __init__(self) -> None:
        self.of_saga: dict[str, Pause] = {}

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _HeldBack(next, self.of_saga)


class _HeldBack(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, pauses: dict[str, Pause]) -> None:
        super().__init__(next)
        self._pauses = pauses

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        pause = self._pauses.get(info.workflow_id or "")
        if pause is not None and pause.is_before(info.activity_type, input.args[0]):
            pause.reached.set()
            await pause.released.wait()
        return await self.next.execute_activity(input)


class WatchedWorker:
    def __init__(self, to: Connections, settings: Settings, trace: Trace, pauses: Pauses) -> None:
        self.trace = trace
        self._router = to.router
        self._pauses = pauses
        self._sagas = TransferSagas(to.temporal, settings, QUEUE)
        # A local activity would be tried again while it is held back.
        regular = settings.model_copy(update={"activity_mode": "regular"})
        self._durable_sagas = TransferSagas(to.temporal, regular, QUEUE)

    async def carry_out(self, transfer: Transfer, protocol: Protocol) -> TransferResult:
        """As the product's own workers do."""
        return await _result(await self._start(self._sagas, transfer, protocol))

    @asynccontextmanager
    async def held_back(self, transfer: Transfer, border: Border) -> AsyncIterator[Handle]:
        """Holds the transfer at `border` inside the block. However the block ends, the transfer then goes on, and its
        end is awaited: nothing may stay in doubt."""
        pause = self._pauses.of_saga[transfer.saga_id] = Pause(border)
        handle = await self._start(self._durable_sagas, transfer, border.protocol)
        try:
            with _stalled_if_late(transfer):
                await within(pause.reached.wait(), REACHED_SECONDS_MAX)
            yield handle
        finally:
            pause.released.set()
            await _result(handle)

    async def _start(self, sagas: TransferSagas, transfer: Transfer, protocol: Protocol) -> Handle:
        shard = (await self._router.map()).of_account(transfer.source).shard
        return await sagas.start(transfer, protocol.as_choice(), shard)


@asynccontextmanager
async def watched_worker(to: Connections, settings: Settings) -> AsyncIterator[WatchedWorker]:
    """Polls inside the block, with the time limits and pools of a worker process."""
    databases = resolve_databases(settings)
    async with Cluster(databases.shards, databases.catalog, databases.read_model, settings.pool_size) as cluster:
        trace, pauses = Trace(cluster), Pauses()
        client = await to.temporal()
        worker = new_worker(
            client, Router(cluster), settings, TASK_QUEUE, "contrast", polled=QUEUE, interceptors=[pauses]
        )
        async with worker:
            yield WatchedWorker(to, settings, trace, pauses)


async def _result(handle: Handle) -> TransferResult:
    began = time.monotonic()
    try:
        result = await wait_for_result(handle, ENDED_SECONDS_MAX)
    except WorkflowFailed as error:
        raise ShardwiseError("contrast_broke", f"the workflow {handle.id} ended: {error}") from error
    if result is None:
        raise Unreachable("contrast_stalled", f"{handle.id} is not final after {time.monotonic() - began:.0f} s")
    return result


@contextlib.contextmanager
def _stalled_if_late(transfer: Transfer) -> Any:
    try:
        yield
    except TimeoutError:
        raise Unreachable(
            "contrast_stalled", f"{transfer.saga_id} did not reach the border in {REACHED_SECONDS_MAX:.0f} s"
        ) from None
