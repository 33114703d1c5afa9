"""Transfers' workflows as seen from outside: start and await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from cli.saga_calls import START_SECONDS_MIN, TASK_TIMEOUT, answered, asked_of, carried_out, has_worker, started
from cli.workflow_states import TemporalWorkflowStates, WorkflowState
from domain.sagas import SagaOptions
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from stack.settings import Settings
from workflows.interfaces import CarryOutTransfer, TransferResult
from workflows.transfer import SHARD, TASK_QUEUE, TRANSFER_STATUS, TransferWorkflow, workflow_id
from workflows.visibility import SAGA

Handle = WorkflowHandle[TransferWorkflow, TransferResult]


class TransferSagas:
    def __init__(
        self, temporal: Callable[[], Awaitable[Client]], settings: Settings, task_queue: str = TASK_QUEUE
    ) -> None:
        """`temporal` gives the connected client: asked when it is first needed. `task_queue`: whose workers run it."""
        self._temporal = temporal
        self._task_queue = task_queue
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)

    async def carry_out(
        self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str, seconds: float
    ) -> TransferResult | None:
        """Has the transfer's workflow run and waits for its end; None when that has not come within `seconds`.

        A workflow that runs already is joined, whatever protocol it runs, and may carry another transfer under the same
        id: compare the result's `content_hash`. One that has ended is run again, which changes nothing that is decided.
        Raises `SagaBroke`, or `Unreachable` where it could not be told whether the workflow was started at all.
        """
        return await carried_out(
            lambda: self.start(transfer, protocol, source_shard, max(seconds, START_SECONDS_MIN)), seconds
        )

    async def start(
        self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str, seconds: float = START_SECONDS_MIN
    ) -> Handle:
        """Has the transfer's workflow run, and waits for no more than that. Joins one that runs."""
        client = await self._temporal()
        request = CarryOutTransfer(transfer, protocol, self._options)

        async def start() -> Handle:
            return await client.start_workflow(
                TransferWorkflow.run,
                request,
                id=workflow_id(transfer),
                task_queue=self._task_queue,
                task_timeout=TASK_TIMEOUT,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(TRANSFER_STATUS, TransferStatus.PENDING),
                        SearchAttributePair(SAGA, transfer.saga_id),
                        SearchAttributePair(SHARD, source_shard),
                    ]
                ),
                static_summary=f"{transfer.amount} from {transfer.source} to {transfer.target}, protocol {protocol}",
            )

        return await started(start, seconds)

    async def asked_for(self, saga_id: str) -> CarryOutTransfer | None:
        """What its workflow was given, while Temporal remembers that. `InvalidInput` where no worker lets it in."""
        asked: CarryOutTransfer | None = await asked_of((await self._temporal()).get_workflow_handle(saga_id))
        return asked

    async def state_of(self, saga_id: str) -> WorkflowState | None:
        """None where Temporal does not answer within two seconds."""
        return await answered(TemporalWorkflowStates(await self._temporal()).state_of(saga_id))

    async def has_worker(self) -> bool:
        """Whether a worker has polled for transfers lately."""
        return await has_worker(await self._temporal(), self._task_queue)
