"""What the tests do with transfers: send them, and read their statuses."""

from __future__ import annotations

import itertools

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.money import Money
from domain.sagas import Reason, Refusal, SagaOptions
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferStatus
from tests.workflow.bank import BankInMemory, Banks, activities_of
from tests.workflow.driving import Driver
from tests.workflow.faults import Hangs
from tests.workflow.modes import Mode
from tests.workflow.order_driver import events
from workers.runner.sandbox import workflow_runner
from workflows.interfaces import CarryOutTransfer, TransferResult
from workflows.transfers.transfer import TransferWorkflow, workflow_id

TEN = Money(10_00, "USD")
TWO_PHASE = ProtocolChoice.TWO_PHASE
CANCELLED = Refusal(Reason.CANCELLED, "by hand")

Handle = WorkflowHandle[TransferWorkflow, TransferResult]
_numbers = itertools.count(1)


class TransferDriver(Driver):
    """One transfer of ten dollars from ada, and the bank that it happens in."""

    def __init__(self, env: WorkflowEnvironment, bank: BankInMemory, mode: Mode) -> None:
        super().__init__(env, mode, bank)
        self.bank = bank
        self._id = f"t{next(_numbers)}"

    def transfer(self, target: str = "bob", amount: Money = TEN) -> Transfer:
        return Transfer(self._id, "ada", target, amount)

    async def send(
        self, protocol: ProtocolChoice = ProtocolChoice.AUTO, target: str = "bob", amount: Money = TEN
    ) -> Handle:
        transfer = self.transfer(target, amount)
        request = CarryOutTransfer(transfer, protocol, SagaOptions(self.mode.mode, 30))
        handle = await self.env.client.start_workflow(
            TransferWorkflow.run, request, id=workflow_id(transfer), task_queue=f"bank {self.mode}"
        )
        self.started.append(handle)
        return handle


def bank_worker(client: Client, queue: str, banks: Banks) -> Worker:
    return Worker(
        client,
        task_queue=queue,
        workflows=[TransferWorkflow],
        activities=activities_of(banks),
        workflow_runner=workflow_runner(sandboxed=True),
    )


async def statuses(handle: Handle) -> list[str]:
    kind = EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES
    upserted = [
        event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        for event in await events(handle, kind)
    ]
    return [fields["TransferStatus"].data.decode().strip('"[]') for fields in upserted]


async def let_go(hang: Hangs) -> None:
    """An attempt that nobody waits for any more would keep the server's clock from skipping."""
    hang.release()
    await hang.ended.wait()


def assert_settled(result: TransferResult, protocol: Protocol) -> None:
    assert (result.status, result.refusal, result.protocol) == (TransferStatus.SETTLED, None, protocol)


def assert_declined(result: TransferResult, reason: Reason) -> None:
    assert result.status is TransferStatus.DECLINED
    assert result.refusal is not None
    assert result.refusal.reason is reason
