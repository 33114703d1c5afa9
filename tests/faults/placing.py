"""Starting an order or a transfer of the battery, in its case's mode."""

from __future__ import annotations

from datetime import timedelta

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy

from domain.choreography import PLACEMENT_TYPE, placement_id
from domain.orders import Order
from domain.sagas import SagaOptions
from domain.transfers import Transfer
from tests.faults.order_cases import Goods
from tests.faults.saga import WatchedSaga
from tests.faults.transfer_cases import Payment
from workflows.interfaces import CarryOutTransfer, PlaceChoreographed, PlaceOrder

STUCK_AFTER_SECONDS = 3.0
_TYPES = {PlaceOrder: "OrderSaga", PlaceChoreographed: PLACEMENT_TYPE, CarryOutTransfer: "TransferWorkflow"}


async def place(saga: WatchedSaga, client: Client, queue: str, task_timeout: timedelta) -> None:
    """The case's own; before it, to its end, the one that takes its id where the case wants that."""
    about = saga.about
    if about.first is not None:
        await _start(about.first, saga, client, queue, task_timeout)
        await saga.handle.result()
    wanted = about.order if isinstance(about, Goods) else about.transfer
    await _start(wanted, saga, client, queue, task_timeout)


async def _start(
    wanted: Order | Transfer, saga: WatchedSaga, client: Client, queue: str, task_timeout: timedelta
) -> None:
    options = SagaOptions(saga.case.mode, STUCK_AFTER_SECONDS)
    request: PlaceOrder | PlaceChoreographed | CarryOutTransfer
    if isinstance(saga.about, Payment):
        assert isinstance(wanted, Transfer)
        request = CarryOutTransfer(wanted, saga.about.protocol, options)
    else:
        assert isinstance(wanted, Order)
        request = PlaceChoreographed(wanted, options) if saga.is_choreographed else PlaceOrder(wanted, options)
    await client.start_workflow(
        _TYPES[type(request)],
        request,
        id=placement_id(wanted.order_id) if isinstance(request, PlaceChoreographed) else saga.saga_id,
        task_queue=queue,
        task_timeout=task_timeout,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
    )
