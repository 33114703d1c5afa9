"""Transfers' workflows as seen from outside: start and await."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from temporalio.client import Client, WorkflowHandle
from temporalio.common import SearchAttributePair

from domain.sagas import SagaOptions
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.audit.workflows import WorkflowState
from shardwise.temporal.calls import Begun, Workflows, answered
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
        """`temporal` gives the connected client: asked when it is first needed. `task_queue`: whose workers run it."""
        self._workflows = Workflows(temporal)
        self._task_queue = task_queue
        self._options = SagaOptions(settings.activity_mode, settings.stuck_after_seconds)

    async def carry_out(
        self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str, seconds: float
    ) -> TransferResult | None:
        """Has the transfer's workflow run and waits for its end; None when that has not come within `seconds`.

        A workflow that runs already is joined, whatever protocol it runs, and may carry another transfer under the same
        id: compare the result's `content_hash`. One that has ended is run again, which changes nothing that is decided.
        Raises as `Workflows.carried_out`.
        """
        return await self._workflows.carried_out(
            TransferWorkflow.run,
            CarryOutTransfer(transfer, protocol, self._options),
            self._begun(transfer, protocol, source_shard),
            seconds,
        )

    async def start(self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str) -> Handle:
        """Has the transfer's workflow run, and waits for no more than that. Joins one that runs."""
        request = CarryOutTransfer(transfer, protocol, self._options)
        return await self._workflows.start(TransferWorkflow.run, request, self._begun(transfer, protocol, source_shard))

    def _begun(self, transfer: Transfer, protocol: ProtocolChoice, source_shard: str) -> Begun:
        attributes = [
            SearchAttributePair(TRANSFER_STATUS, TransferStatus.PENDING),
            SearchAttributePair(SAGA, transfer.saga_id),
            SearchAttributePair(SHARD, source_shard),
        ]
        summary = f"{transfer.amount} from {transfer.source} to {transfer.target}, protocol {protocol}"
        return Begun(workflow_id(transfer), self._task_queue, summary, attributes)

    async def asked_for(self, saga_id: str) -> CarryOutTransfer | None:
        """What its workflow was given, while Temporal remembers that. `InvalidInput` where no worker lets it in."""
        asked: CarryOutTransfer | None = await self._workflows.asked_of(saga_id)
        return asked

    async def state_of(self, saga_id: str) -> WorkflowState | None:
        """None where Temporal does not answer within two seconds."""
        return await answered(TemporalWorkflowStates(await self._workflows.client()).state_of(saga_id))

    async def has_worker(self) -> bool:
        """Whether a worker has polled for transfers lately."""
        return await self._workflows.has_worker(self._task_queue)
