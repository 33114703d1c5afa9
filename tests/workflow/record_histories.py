"""Records `histories/*/*.json`, which test_replaying.py replays, from orders and transfers on a running embedded stack:

    shardwise up --detach --data-dir DIR
    python -m tests.workflow.record_histories --data-dir DIR [--only SCENE]
    shardwise down --data-dir DIR

Kills one shard's server twice and brings it back. Existing files are overwritten. Record again only together with a
`workflow.patched`, or before a first release: the old files stand for orders that are still running somewhere.
Whatever names the machine (identities, sticky queues, stack traces) is taken out.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from domain.choreography import REACTIONS, EventKind, placement_id, reactor_id
from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus, Style
from domain.sagas import Reason, SagaOptions
from domain.shard_map import ShardMap
from domain.transfers import ProtocolChoice, Transfer, TransferStatus
from shards.connections.cluster import Cluster
from shards.routing import map_store
from stack.settings import Settings, load_settings, resolve_databases
from stack.temporal_client import connect
from tests.workflow.order_driver import Handle, events, scheduled, statuses, until
from workflows.interfaces import CarryOutTransfer, PlaceChoreographed, PlaceOrder, Rebuild, TransferResult
from workflows.orders.placement import PlaceChoreographedOrder
from workflows.orders.saga import TASK_QUEUE, OrderSaga, workflow_id
from workflows.outbox_relay import TASK_QUEUE as RELAY_QUEUE
from workflows.outbox_relay import workflow_id as relay_id
from workflows.read_model_rebuild import WORKFLOW_ID as REBUILD_ID
from workflows.read_model_rebuild import ReadModelRebuild
from workflows.transfers.in_doubt_sweeper import WORKFLOW_ID as SWEEPER_ID
from workflows.transfers.in_doubt_sweeper import InDoubtSweeper
from workflows.transfers.transfer import TASK_QUEUE as TRANSFERS
from workflows.transfers.transfer import TransferWorkflow

FOLDER = Path(__file__).parent / "histories"
SKUS = [f"recorded-{n:02}" for n in range(12)]
CUSTOMER = "recorded-customer"
PAYEES = [f"recorded-payee-{n}" for n in range(12)]
HOUR = 3600.0
STOCK = 1000
CONFIRMED_EVENTS = (
    EventKind.ORDER_PLACED,
    EventKind.STOCK_RESERVED,
    EventKind.PAYMENT_HELD,
    EventKind.ORDER_CONFIRMED,
)
REJECTED_EVENTS = (
    EventKind.ORDER_PLACED,
    EventKind.STOCK_REFUSED,
    EventKind.ORDER_ABORTING,
    EventKind.STOCK_RELEASED,
)


@dataclass(frozen=True)
class Recorder:
    settings: Settings
    client: Client
    shard_map: ShardMap

    async def place(self, name: str, second_quantity: int = 1, window: float = 0, stuck_after: float = HOUR) -> Handle:
        """An order whose stock lies on two shards; on the one of the second line lies nothing else of it."""
        one, other = self._skus()
        lines = (OrderLine(one, 2, Money(500, "USD")), OrderLine(other, second_quantity, Money(100, "USD")))
        ids = (f"{name}-{os.urandom(3).hex()}" for _ in itertools.count())
        order_id = next(x for x in ids if self.shard_map.of_order_id(x).shard != self._shard_of(other))
        return await self.client.start_workflow(
            OrderSaga.run,
            PlaceOrder(Order(order_id, CUSTOMER, "USD", lines), SagaOptions(stuck_after_seconds=stuck_after), window),
            id=workflow_id(order_id),
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=5),
        )

    def _skus(self) -> tuple[str, str]:
        of_customer = self.shard_map.of_customer(CUSTOMER).shard
        other = next(sku for sku in SKUS if self._shard_of(sku) != of_customer)
        return next(sku for sku in SKUS if self._shard_of(sku) != self._shard_of(other)), other

    def _shard_of(self, sku: str) -> str:
        return self.shard_map.of_sku(sku).shard

    @property
    def nobody(self) -> str:
        """An account that does not exist, on another shard than the customer's."""
        own = self.shard_map.of_customer(CUSTOMER).shard
        names = (f"nobody-{n}" for n in itertools.count())
        return next(name for name in names if self.shard_map.of_customer(name).shard != own)

    def kill_a_stock_shard(self) -> None:
        """The one of the second line, with kill -9."""
        shard = self._shard_of(self._skus()[1])
        status = json.loads(shardwise(self.settings.data_dir, "status", "--json"))
        os.kill(next(part["pid"] for part in status["shards"] if part["name"] == shard), signal.SIGKILL)

    async def bring_back(self) -> None:
        await asyncio.to_thread(shardwise, self.settings.data_dir, "up", "--detach")

    async def send(self, protocol: ProtocolChoice, target: str, amount: str) -> WorkflowHandle[Any, TransferResult]:
        transfer = Transfer(f"T-{os.urandom(3).hex()}", CUSTOMER, target, Money.parse(amount, "USD"))
        return await self.client.start_workflow(
            TransferWorkflow.run,
            CarryOutTransfer(transfer, protocol, SagaOptions(stuck_after_seconds=HOUR)),
            id=transfer.saga_id,
            task_queue=TRANSFERS,
            task_timeout=timedelta(seconds=5),
        )

    @property
    def payees(self) -> tuple[str, str]:
        """One on the customer's own shard, and one on another."""
        own = self.shard_map.of_customer(CUSTOMER).shard
        near = [each for each in PAYEES if self.shard_map.of_customer(each).shard == own]
        return near[0], next(each for each in PAYEES if each not in near)

    async def save(
        self,
        name: str,
        handle: WorkflowHandle[Any, Any],
        expected: OrderStatus | TransferStatus,
        because: Reason | None = None,
    ) -> None:
        result = await handle.result()
        reason = result.refusal.reason if result.refusal else None
        if (result.status, reason) != (expected, because):
            raise SystemExit(f"{name}: expected {expected}, {because}, got {result.status}, {reason}")
        folder = "orders" if isinstance(expected, OrderStatus) else "transfers"
        await self.write(f"{folder}/{name}", handle)

    async def write(self, name: str, handle: WorkflowHandle[Any, Any]) -> None:
        history = (await handle.fetch_history()).to_json_dict()
        file = FOLDER / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(scrubbed(history), indent=1) + "\n")
        sys.stdout.write(f"{name}: {len(history['events'])} events\n")

    async def choreograph(self, name: str, second_quantity: int, events: Sequence[EventKind]) -> None:
        """Places an order without a coordinator and records its placement and all reactors to one of its `events`."""
        one, other = self._skus()
        lines = (OrderLine(one, 2, Money(500, "USD")), OrderLine(other, second_quantity, Money(100, "USD")))
        order = Order(f"{name}-{os.urandom(3).hex()}", CUSTOMER, "USD", lines, style=Style.CHOREOGRAPHED)
        placement = await self.client.start_workflow(
            PlaceChoreographedOrder.run,
            PlaceChoreographed(order, SagaOptions(stuck_after_seconds=HOUR)),
            id=placement_id(order.order_id),
            task_queue=TASK_QUEUE,
            task_timeout=timedelta(seconds=5),
        )
        await placement.result()
        await self.write(f"reactors/{name}/place-order", placement)
        for version, kind in enumerate(events, start=1):
            for reactor in REACTIONS[kind]:
                handle = self.client.get_workflow_handle(reactor_id(reactor, order.order_id, version))
                await _ended(handle)
                await self.write(f"reactors/{name}/{version}-{reactor}", handle)


async def _ended(handle: WorkflowHandle[Any, Any]) -> None:
    """Once the relay has started it."""
    while True:
        try:
            await handle.result()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def scrubbed(part: Any) -> Any:
    if isinstance(part, list):
        return [scrubbed(x) for x in part]
    if not isinstance(part, dict):
        return part
    if part.get("kind") == "TASK_QUEUE_KIND_STICKY":
        part = part | {"name": "sticky"}
    hidden = {"identity": "a worker", "stackTrace": ""}
    return {key: hidden.get(key, scrubbed(value)) for key, value in part.items()}


async def confirmed_on_two_shards(recorder: Recorder, name: str) -> None:
    await recorder.save(name, await recorder.place(name), OrderStatus.CONFIRMED)


async def rejected_after_a_reservation(recorder: Recorder, name: str) -> None:
    handle = await recorder.place(name, second_quantity=STOCK + 1)
    await recorder.save(name, handle, OrderStatus.REJECTED, Reason.OUT_OF_STOCK)


async def cancelled_in_its_window(recorder: Recorder, name: str) -> None:
    handle = await recorder.place(name, window=HOUR)
    await until(lambda: events(handle, EventType.EVENT_TYPE_TIMER_STARTED))
    await handle.execute_update(OrderSaga.cancel)
    await recorder.save(name, handle, OrderStatus.CANCELLED, Reason.CANCELLED)


async def confirmed_by_the_durable_fallback(recorder: Recorder, name: str) -> None:
    recorder.kill_a_stock_shard()
    handle = await recorder.place(name)
    await until(lambda: scheduled(handle, "reserve_stock"))
    await recorder.bring_back()
    await recorder.save(name, handle, OrderStatus.CONFIRMED)


async def stuck_then_retried(recorder: Recorder, name: str) -> None:
    recorder.kill_a_stock_shard()
    handle = await recorder.place(name, stuck_after=0.5)
    await until(lambda: statuses(handle))
    await handle.execute_update(OrderSaga.retry)
    await recorder.bring_back()
    await recorder.save(name, handle, OrderStatus.CONFIRMED)


async def moved_within_a_shard(recorder: Recorder, name: str) -> None:
    handle = await recorder.send(ProtocolChoice.AUTO, recorder.payees[0], "1.00")
    await recorder.save(name, handle, TransferStatus.SETTLED)


async def settled_by_saga(recorder: Recorder, name: str) -> None:
    handle = await recorder.send(ProtocolChoice.SAGA, recorder.payees[1], "1.00")
    await recorder.save(name, handle, TransferStatus.SETTLED)


async def declined_by_its_target(recorder: Recorder, name: str) -> None:
    handle = await recorder.send(ProtocolChoice.SAGA, recorder.nobody, "1.00")
    await recorder.save(name, handle, TransferStatus.DECLINED, Reason.UNKNOWN_ACCOUNT)


async def settled_by_two_phase_commit(recorder: Recorder, name: str) -> None:
    handle = await recorder.send(ProtocolChoice.TWO_PHASE, recorder.payees[1], "1.00")
    await recorder.save(name, handle, TransferStatus.SETTLED)


async def vetoed_in_two_phase_commit(recorder: Recorder, name: str) -> None:
    handle = await recorder.send(ProtocolChoice.TWO_PHASE, recorder.nobody, "1.00")
    await recorder.save(name, handle, TransferStatus.DECLINED, Reason.UNKNOWN_ACCOUNT)


async def choreographed_to_the_end(recorder: Recorder, name: str) -> None:
    await recorder.choreograph(name, 1, CONFIRMED_EVENTS)


async def choreographed_and_refused(recorder: Recorder, name: str) -> None:
    """By its stock. `refused_without_a_row` is of a placement that released none yet, which now it does: recorded
    with its `workflow.patched` taken out."""
    await recorder.choreograph(name, STOCK + 1, REJECTED_EVENTS)


async def outbox_relay_that_tells(recorder: Recorder, name: str) -> None:
    """It has no end: what began a while ago goes on. Before it, `outbox_relay`, whose activities answered a number."""
    shard = recorder.shard_map.of_customer(CUSTOMER).shard
    handle = recorder.client.get_workflow_handle(relay_id(shard))
    await until(lambda: events(handle, EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED))
    await recorder.write(f"relays/{name}", handle)


async def in_doubt_sweeper(recorder: Recorder, name: str) -> None:
    """It has no end either."""
    handle = recorder.client.get_workflow_handle_for(InDoubtSweeper.run, SWEEPER_ID)
    await until(lambda: events(handle, EventType.EVENT_TYPE_TIMER_FIRED), seconds=60)
    await handle.signal(InDoubtSweeper.pause)
    await handle.execute_update(InDoubtSweeper.sweep)
    await handle.signal(InDoubtSweeper.resume)
    await handle.execute_update(InDoubtSweeper.sweep)
    await recorder.write(f"relays/{name}", handle)


async def read_model_rebuild(recorder: Recorder, name: str) -> None:
    handle = await recorder.client.start_workflow(
        ReadModelRebuild.run, Rebuild(), id=REBUILD_ID, task_queue=RELAY_QUEUE, task_timeout=timedelta(seconds=5)
    )
    await handle.result()
    await recorder.write(f"relays/{name}", handle)


SCENES: tuple[Callable[[Recorder, str], Awaitable[None]], ...] = (
    confirmed_on_two_shards,
    rejected_after_a_reservation,
    cancelled_in_its_window,
    confirmed_by_the_durable_fallback,
    stuck_then_retried,
    moved_within_a_shard,
    settled_by_saga,
    declined_by_its_target,
    settled_by_two_phase_commit,
    vetoed_in_two_phase_commit,
    choreographed_to_the_end,
    choreographed_and_refused,
    outbox_relay_that_tells,
    in_doubt_sweeper,
    read_model_rebuild,
)


async def record(settings: Settings, only: str | None) -> None:
    databases = resolve_databases(settings)
    async with Cluster(databases.shards, databases.catalog, databases.read_model) as cluster:
        shard_map = await map_store.load_map(cluster.catalog)
    recorder = Recorder(settings, await connect(settings), shard_map)
    for scene in (scene for scene in SCENES if only in (None, scene.__name__)):
        await scene(recorder, scene.__name__)


def import_what_is_sold(data_dir: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        customers, products = Path(folder, "customers.csv"), Path(folder, "products.csv")
        customers.write_text(
            f"customer_id,name,email,currency,opening_balance\n{CUSTOMER},A customer,,USD,1000000.00\n"
        )
        with customers.open("a") as more:
            more.writelines(f"{payee},A payee,,USD,0.00\n" for payee in PAYEES)
        rows = "".join(f"{sku},A product,USD,5.00,{STOCK}\n" for sku in SKUS)
        products.write_text("sku,name,currency,unit_price,stock\n" + rows)
        shardwise(data_dir, "import", "customers", str(customers))
        shardwise(data_dir, "import", "products", str(products))


def shardwise(data_dir: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "cli", *arguments]
    environment = os.environ | {"SHARDWISE_DATA_DIR": str(data_dir)}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--only", choices=[scene.__name__ for scene in SCENES])
    chosen = parser.parse_args()
    data_dir = chosen.data_dir.resolve()
    import_what_is_sold(data_dir)
    asyncio.run(record(load_settings(data_dir), chosen.only))
    sys.stdout.flush()
    # The Temporal client's threads can kill the interpreter on its way out.
    os._exit(0)


if __name__ == "__main__":
    main()
