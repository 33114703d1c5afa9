"""One order or transfer under a fault: the watcher between its worker and its activities, and the answers it got."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateStage,
)
from temporalio.service import RPCError

from activities.interfaces import (
    AbortOrder,
    AbortParticipant,
    DecideOrder,
    DecideTransfer,
    OpenOrder,
    OrderStep,
    ParticipantStep,
    PlacedOrder,
    StepResult,
    StockStep,
)
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal
from domain.transfers import Transfer
from domain.two_phase import Participant, Vote
from stack.embedded.waiting import attempts
from tests.faults.cases import Case
from tests.faults.declared import CHOREOGRAPHED, COMPENSATIONS, DECLARED, OF_TARGET
from tests.faults.order_cases import Goods
from tests.faults.points import Attempt, Effect
from tests.faults.services import EVERY_SERVICE, POLL_SECONDS, Resting
from tests.faults.transfer_cases import Payment
from tests.support.temporal import course_of
from tests.support.world import World
from workflows.interfaces import OrderResult, TransferResult
from workflows.orders import saga as order_saga
from workflows.orders.saga import OrderSaga
from workflows.transfers import transfer

T = TypeVar("T")

SETTLES_WITHIN_SECONDS = 20.0
WAITED_FOR_SECONDS_MAX = 1.5
COURSE_EVENTS_MAX = 12
_WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


class WatchedSaga:
    """`faults` lists what was found wrong; empty is a pass."""

    def __init__(
        self, about: Goods | Payment, world: World, client: Client, resting: Resting, ends_within_seconds: float
    ) -> None:
        self.about = about
        self.case: Case = about.case
        self.is_choreographed = self.case.kind in CHOREOGRAPHED
        if isinstance(about, Goods):
            self.saga_id, self.queue = order_saga.workflow_id(about.order.order_id), order_saga.TASK_QUEUE
        else:
            self.saga_id, self.queue = transfer.workflow_id(about.transfer), transfer.TASK_QUEUE
        # The activities that a worker must offer to carry all of it.
        self.hosted = EVERY_SERVICE if self.is_choreographed else self.queue
        self.faults: list[str] = []
        self.befallen = 0
        self.undo_attempts = 0
        self.aborting = asyncio.Event()
        self.undoing = asyncio.Event()
        self.holding = asyncio.Event()
        self.undone = asyncio.Event()
        self.answered = asyncio.Event()
        self.zombie: asyncio.Task[Any] | None = None
        self.terminated = False
        self.answer: Any = None
        self.cancel_answers: list[Decision] = []
        self.result: OrderResult | TransferResult | None = None
        self._world = world
        self._client = client
        self._ends_within_seconds = ends_within_seconds
        self._resting = resting
        self._working: str | None = None
        self._background: list[asyncio.Task[Any]] = []

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        """Of the newest run."""
        kind: Any = OrderSaga.run if isinstance(self.about, Goods) else transfer.TransferWorkflow.run
        return self._client.get_workflow_handle_for(kind, self.saga_id)

    @property
    def participant(self) -> Participant:
        """Which of two the fault befalls, in a two-phase commit."""
        return Participant.TARGET if self.case.kind in OF_TARGET else Participant.SOURCE

    # ── between the worker and the activities ───────────────────────────────────────────────────────────────

    async def around(self, attempt: Attempt, effect: Effect) -> Any:
        if attempt.activity in COMPENSATIONS or (
            isinstance(attempt.request, DecideOrder | DecideTransfer) and attempt.request.refusal is not None
        ):
            self.aborting.set()
        if not self._is_target(attempt, self.case.activity):
            return await self.case.fault.beside(self, attempt, effect)
        self.befallen += 1
        self._working = attempt.workflow_id
        return await self.case.fault.around(self, attempt, effect)

    def _is_target(self, attempt: Attempt, activity: str) -> bool:
        # A service that is cancelled records so by the same activity: that is its answer to the fault.
        answers = isinstance(attempt.request, OrderStep) and attempt.request.refusal == order_saga.CANCELLED
        return attempt.activity == activity and attempt.is_of(self.participant) and not answers

    def is_undo_of_target(self, attempt: Attempt) -> bool:
        undo = DECLARED[self.case.activity].undone_by
        return undo is not None and self._is_target(attempt, undo)

    async def undo(self, attempt: Attempt) -> None:
        """The compensation of this attempt's step, as an earlier run of the workflow may have left it."""
        request = attempt.request
        if isinstance(request, StockStep):
            await self._world.stock.release_stock(request)
        elif isinstance(request, OpenOrder | PlacedOrder):
            undone = Refusal(Reason.CANCELLED, "undone before it ran")
            await self._world.orders.abort_order(AbortOrder(request.order.order_id, request.order.customer_id, undone))
        elif isinstance(request, Transfer):
            await self._world.transfers.withdraw_admission(request)
        elif isinstance(request, ParticipantStep):
            undo = AbortParticipant(request.transfer, request.participant, ALREADY_COMPENSATED)
            await self._world.two_phase.abort_participant(undo)
        else:
            raise AssertionError(f"the battery does not know how {attempt.activity} is undone")

    # ── what befalls the workflow ───────────────────────────────────────────────────────────────────────────

    async def cancel_by_temporal(self) -> None:
        if not self.is_choreographed:
            await self.handle.cancel()
            return
        works_on_it = [self._working] if self._working else await self._resting.workflow_ids(self.saga_id)
        for workflow_id in works_on_it:
            with contextlib.suppress(RPCError):  # It has not begun, or has ended.
                await self._client.get_workflow_handle(workflow_id).cancel()

    async def cancel_by_update(self) -> None:
        """Returns when the workflow has accepted it; its answer is kept. Does nothing if the workflow has ended. For a
        choreographed order the row accepts it."""
        if self.is_choreographed:
            assert isinstance(self.about, Goods)
            order = self.about.order
            self.cancel_answers.append(await self._world.cancel(order))
            return
        try:
            accepted = await self.handle.start_update(OrderSaga.cancel, wait_for_stage=WorkflowUpdateStage.ACCEPTED)
        except RPCError:
            return
        self.in_background(self._keep_answer(accepted.result()))

    async def _keep_answer(self, answer: Coroutine[Any, Any, Decision]) -> None:
        self.cancel_answers.append(await answer)

    async def terminate(self) -> None:
        self.terminated = True
        handle = self._client.get_workflow_handle(self._working) if self._working else self.handle
        await handle.terminate("by the battery")

    async def end(self) -> None:
        """Waits for the workflow's end, and keeps its result. A terminated one has none, nor has a choreographed one:
        it has come to its end when its rows say so."""
        try:
            async with asyncio.timeout(self._ends_within_seconds):
                if not self.is_choreographed:
                    self.result = await self.handle.result()
                else:
                    await self._rest()
        except TimeoutError:
            self.faults.append(f"did not end within {self._ends_within_seconds:g} s: {await self._course()}")
        except WorkflowFailureError as error:
            if not self.terminated:
                self.faults.append(f"the workflow failed: {error.cause}")

    async def _course(self) -> str:
        """The latest state of the workflows that work on it, and what they wait for."""
        ids = await self._resting.workflow_ids(self.saga_id) if self.is_choreographed else [self.saga_id]
        return "; ".join([await self._course_of(each) for each in ids]) or "nobody works on it"

    async def _course_of(self, workflow_id: str) -> str:
        handle = self._client.get_workflow_handle(workflow_id)
        try:
            events = await course_of(handle)
            pending = (await handle.describe()).raw_description.pending_activities
        except RPCError as error:
            return f"{workflow_id}: {error.message}"
        waited_for = [f"{each.activity_type.name} attempt {each.attempt}" for each in pending]
        last = ", ".join(events[-COURSE_EVENTS_MAX:])
        return f"{workflow_id}: {len(events)} events, at last {last}; pending: {waited_for}"

    async def _rest(self) -> None:
        """Waits until it has ended, or was terminated and no workflow works on it."""
        ended = asyncio.create_task(self._resting.at_its_end(self.saga_id))
        try:
            while not ended.done():
                if self.terminated:
                    await self._resting.abandoned_or_at_its_end(self.saga_id)
                    return
                await asyncio.wait({ended}, timeout=POLL_SECONDS)
        finally:
            ended.cancel()

    async def waited_for(self) -> None:
        """Until some session waits for another's transaction; not for as long as a transaction may last."""
        async for _ in attempts(WAITED_FOR_SECONDS_MAX):
            if sum(row[0] for row in await self._world.everywhere(_WAITING)):
                return

    def in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._background.append(task)
        return task

    async def settle(self) -> None:
        """Waits for everything that goes on beside the workflow."""
        while self._background:
            task = self._background.pop()
            await asyncio.wait([task], timeout=SETTLES_WITHIN_SECONDS)
            if not task.done():
                task.cancel()
                self.faults.append(f"beside the workflow, this does not end: {task.get_coro()}")
            # A workflow that ended first takes no update any more, and forgets one that it had not begun.
            elif task.exception() and not isinstance(task.exception(), RPCError | WorkflowUpdateFailedError):
                self.faults.append(f"beside the workflow: {task.exception()!r}")

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────────

    def expect_same(self, first: Any, second: Any) -> None:
        if first != second:
            self.faults.append(f"{self.case.activity} answered {first}, and then {second}")

    def expect_refused_as_undone(self, answer: Any) -> None:
        undone = not answer.is_yes if isinstance(answer, Vote) else answer == StepResult(ALREADY_COMPENSATED)
        if not undone:
            self.faults.append(f"{self.case.activity} ran after its undo and answered {answer}")
