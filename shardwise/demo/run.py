"""Runs the demo's orders on a stack: one is cancelled in its window, and of one the worker is killed."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.service import RPCError

from domain.catalogue import Customer, Product
from domain.errors import Unreachable
from shards.audit.report import VerifyReport
from shardwise.application import Shardwise
from shardwise.demo.orders import CANCELLED, CRASHED, DemoOrder, demo_orders
from shardwise.orders.documents import OrderDocument
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings
from stack.temporal_client import connect
from workflows.orders.saga import workflow_id

WAIT_SECONDS = 40.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class FinishedOrder:
    """A demo order as it ended."""

    demo: DemoOrder
    order: OrderDocument
    seconds: float

    @property
    def as_expected(self) -> bool:
        return (self.order.status, self.order.reason) == (self.demo.expected, self.demo.reason)


@dataclass(frozen=True, slots=True)
class DemoRun:
    """`history`: the address of the cancelled order's history in Temporal's UI, while the stack is up."""

    orders: list[FinishedOrder]
    verified: VerifyReport
    history: str


async def run_demo(
    stack: EmbeddedStack,
    settings: Settings,
    customers: Sequence[Customer],
    products: Sequence[Product],
    say: Callable[[str], None],
) -> DemoRun:
    """Runs all orders at once, then `verify`. Needs the stack up, with its schema and one worker."""
    async with AsyncExitStack() as apps:

        async def app(window_seconds: float = 0.0) -> Shardwise:
            chosen = settings.model_copy(update={"cancellation_window_seconds": window_seconds})
            return await apps.enter_async_context(await Shardwise.connect(settings=chosen))

        usual = await app()
        await usual.catalogue.import_customers(customers)
        await usual.catalogue.import_products(products)
        demo = _Demo(await connect(settings), app, stack, say)
        finished = await asyncio.gather(*(_run_order(order, demo) for order in demo_orders()))
        return DemoRun(finished, await usual.operations.verify(), await _history_address(demo, CANCELLED))


@dataclass(frozen=True, slots=True)
class _Demo:
    """`app`: connects with a cancellation window of so many seconds."""

    client: Client
    app: Callable[[float], Awaitable[Shardwise]]
    stack: EmbeddedStack
    say: Callable[[str], None]


async def _run_order(demo_order: DemoOrder, demo: _Demo) -> FinishedOrder:
    started = time.monotonic()
    app = await demo.app(demo_order.window_seconds)
    placing = asyncio.create_task(app.orders.place_order(demo_order.order, WAIT_SECONDS))
    order_id = demo_order.order.order_id
    if order_id == CANCELLED:
        await _wait_for_its_window(demo, order_id)
        demo.say(f"cancelling {order_id}: its payment is held and its stock reserved")
        await app.orders.cancel(order_id, WAIT_SECONDS)
    if order_id == CRASHED:
        await _wait_for_its_window(demo, order_id)
        await _kill_the_worker(demo)
    return FinishedOrder(demo_order, await placing, time.monotonic() - started)


async def _wait_for_its_window(demo: _Demo, order_id: str) -> None:
    """Returns once the order's history shows the timer of its cancellation window."""
    handle = demo.client.get_workflow_handle(workflow_id(order_id))
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(RPCError):  # Not started yet.
            async for event in handle.fetch_history_events(wait_new_event=True):
                if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
                    return
        await asyncio.sleep(POLL_SECONDS)
    raise Unreachable("demo_stalled", f"{order_id} did not reach its cancellation window")


async def _kill_the_worker(demo: _Demo) -> None:
    for worker in (await demo.stack.status()).workers:
        if worker.pid is not None:
            demo.say(f"kill -9 of {worker.name}, pid {worker.pid}, with {CRASHED} half done")
            process = psutil.Process(worker.pid)
            process.kill()
            await asyncio.to_thread(process.wait, WAIT_SECONDS)
    for line in await demo.stack.start_workers():
        demo.say(line)


async def _history_address(demo: _Demo, order_id: str) -> str:
    ui = (await demo.stack.status()).temporal.ui
    run = await demo.client.get_workflow_handle(workflow_id(order_id)).describe()
    return f"{ui}/namespaces/{run.namespace}/workflows/{quote(run.id, safe='')}/{run.run_id}/history"
