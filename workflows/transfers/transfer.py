"""A transfer of money between two accounts, by the protocol that its caller picked.

open ─┬─ both accounts on one shard: moved in the same transaction, whatever protocol was requested
      ├─ saga: `workflows.transfers.saga`
      └─ 2pc:  `workflows.transfers.two_phase`
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey

from activities.interfaces import OpenedTransfer, OpenTransfer, TransferActivities
from domain.sagas import ALREADY_COMPENSATED, Decision
from domain.transfers import Protocol, Transfer, TransferStatus
from workflows.interfaces import CarryOutTransfer, TransferResult
from workflows.saga_steps import SagaSteps, shielded
from workflows.transfers.saga import TransferSaga, decided
from workflows.transfers.two_phase import commit_across
from workflows.visibility import saga_attribute, show_stuck, with_reason

TASK_QUEUE = "transfers"

R = TypeVar("R")

TRANSFER_STATUS = SearchAttributeKey.for_keyword("TransferStatus")
PROTOCOL = SearchAttributeKey.for_keyword("Protocol")
SHARD = SearchAttributeKey.for_keyword("Shard")


def workflow_id(transfer: Transfer) -> str:
    """The workflow is named after its saga."""
    return transfer.saga_id


@workflow.defn(name="TransferWorkflow")
class TransferWorkflow:
    @workflow.init
    def __init__(self, request: CarryOutTransfer) -> None:
        self._request = request
        self._transfer = request.transfer
        self._steps = SagaSteps(request.options, self._on_stuck_changed)
        self._saga = TransferSaga(request.transfer, self._steps)
        self._status = TransferStatus.PENDING
        self._details = ""
        self._cancel_requested = False

    @workflow.run
    async def run(self, request: CarryOutTransfer) -> TransferResult:
        opened = await self._shielded(self._open())
        self._show_details(f"pending: {self._sentence(opened)}")
        if opened.protocol is Protocol.SAGA:
            decision = await self._shielded(self._saga.carry_out(opened))
        elif opened.protocol is Protocol.TWO_PHASE:
            decision = await self._shielded(self._commit_across(opened))
        else:
            decision = self._decided_when_opened(opened)
        return await self._close(opened, decision)

    @workflow.update
    async def retry(self) -> TransferStatus:
        """Gives every waiting step a fresh attempt at once. Harmless if none is waiting."""
        self._steps.retry_now()
        return self._status

    async def _open(self) -> OpenedTransfer:
        return await self._steps.to_the_end(
            TransferActivities.open_transfer,
            OpenTransfer(self._transfer, self._request.protocol),
            amount=self._transfer.amount,
            source=self._transfer.source,
        )

    def _decided_when_opened(self, opened: OpenedTransfer) -> Decision:
        """Within one shard, or refused: opening it was all of it."""
        decision = decided(opened)
        assert decision is not None, "a transfer within one shard is decided when it is opened"
        return decision

    async def _commit_across(self, opened: OpenedTransfer) -> Decision:
        assert opened.state is not None
        shards = (opened.source_shard, opened.target_shard)
        within = timedelta(seconds=self._request.vote_within_seconds)
        return await commit_across(
            self._transfer, self._steps, shards, lambda: self._cancel_requested, within, opened.state
        )

    async def _close(self, opened: OpenedTransfer, decision: Decision) -> TransferResult:
        """Waits for the updates that are still running, which must get their results."""
        if decision.is_confirmed:
            self._status = TransferStatus.SETTLED
            self._show_details(f"settled: {self._sentence(opened)}")
        else:
            self._status = TransferStatus.DECLINED
            self._show_details(with_reason(self._status, decision.refusal or ALREADY_COMPENSATED))
        self._upsert_outcome(opened.protocol)
        await self._shielded(workflow.wait_condition(workflow.all_handlers_finished))
        return TransferResult(
            self._status,
            decision.refusal,
            opened.protocol,
            opened.source_shard,
            opened.target_shard,
            self._transfer.content_hash,
        )

    async def _shielded(self, work: Coroutine[Any, Any, R]) -> R:
        return await shielded(work, self._on_cancel)

    def _on_cancel(self) -> None:
        self._cancel_requested = True
        self._saga.cancel()

    def _on_stuck_changed(self, stuck: Sequence[str]) -> None:
        show_stuck(stuck, self._details)
        status = TransferStatus.STUCK if stuck else self._status
        workflow.upsert_search_attributes([TRANSFER_STATUS.value_set(status), *saga_attribute(self._transfer.saga_id)])

    def _show_details(self, details: str) -> None:
        """Call it only while nothing is stuck: it replaces what `show_stuck` shows."""
        self._details = details
        workflow.set_current_details(details)

    def _sentence(self, opened: OpenedTransfer) -> str:
        """The transfer for a person, with its protocol."""
        transfer = self._transfer
        source, target = f"{transfer.source} on {opened.source_shard}", f"{transfer.target} on {opened.target_shard}"
        protocol = f", by {opened.protocol}" if opened.protocol is not None else ""
        return f"{transfer.amount} from {source} to {target}{protocol}"

    def _upsert_outcome(self, protocol: Protocol | None) -> None:
        attributes = [TRANSFER_STATUS.value_set(self._status), *saga_attribute(self._transfer.saga_id)]
        if protocol is not None:
            attributes.append(PROTOCOL.value_set(protocol))
        workflow.upsert_search_attributes(attributes)
