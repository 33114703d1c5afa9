"""Calls to transfers' workflows: start and await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair

from domain.sagas import SagaOptions
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.audit.workflows import WorkflowState
from shardwise.temporal.calls import Workflows, WorkflowStart, answer_or_none
from shardwise.temporal.states import TemporalWorkflowStates
from stack.settings import Settings
from workflows.interfaces import CarryOutTransfer, TransferResult
from workflows.transfers.transfer import SHARD, TASK_QUEUE, TRANSFER_STATUS, TransferWorkflow, workflow_id
from workflows.visibility import SAGA

Handle = WorkflowHandle[TransferWorkflow, TransferResult]


class TransferSagas:
    def __init__(
        self, temporal: Callable[[], Awaitable[Client]], settings: Settings, task_queue: str = TASK_QUEUE
    ) -> None:
        """`temporal` returns the connected client, and is called when it is first needed. `task_queue`: the
        workers'."""
        self._workflows = Workflows(temporal)
        self._task_queue = task_queue
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)

    async def carry_out(
        self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str, seconds: float
    ) -> TransferResult | None:
        """Starts the transfer's workflow and waits for its end; None if that does not come within `seconds`.

        A workflow that runs already is joined, whatever its protocol, and may carry out another transfer under the same
        id: compare the result's `content_hash`. One that has ended is run again, which changes nothing that is decided.
        Raises as `Workflows.run_to_end`.
        """
        return await self._workflows.run_to_end(
            TransferWorkflow.run,
            CarryOutTransfer(transfer, protocol, self._options),
            self._workflow_start(transfer, protocol, source_shard),
            seconds,
        )

    async def start(self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str) -> Handle:
        """Starts the transfer's workflow, or joins one that runs, and does not wait for its end."""
        request = CarryOutTransfer(transfer, protocol, self._options)
        return await self._workflows.start(
            TransferWorkflow.run, request, self._workflow_start(transfer, protocol, source_shard)
        )

    def _workflow_start(self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str) -> WorkflowStart:
        attributes = [
            SearchAttributePair(TRANSFER_STATUS, TransferStatus.PENDING),
            SearchAttributePair(SAGA, transfer.saga_id),
            SearchAttributePair(SHARD, source_shard),
        ]
        summary = f"{transfer.amount} from {transfer.source} to {transfer.target}, protocol {protocol}"
        return WorkflowStart(workflow_id(transfer), self._task_queue, summary, attributes)

    async def request_of(self, saga_id: str) -> CarryOutTransfer | None:
        """What its workflow was started with; None if Temporal does not know or does not answer. `InvalidInput` if its
        entrance refuses it."""
        request: CarryOutTransfer | None = await self._workflows.input_of(saga_id)
        return request

    async def state_of(self, saga_id: str) -> WorkflowState | None:
        """None if Temporal does not answer within two seconds."""
        return await answer_or_none(TemporalWorkflowStates(await self._workflows.client()).state_of(saga_id))

    async def has_worker(self) -> bool:
        """Whether a worker has polled for transfers lately."""
        return await self._workflows.has_worker(self._task_queue)
