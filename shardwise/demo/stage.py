"""Plays the demo's orders on a stack of their own: one is cancelled in its window, of one the worker is killed."""

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
from shardwise.demo.story import CANCELLED, CRASHED, Scene, scenes
from shardwise.orders.documents import OrderDocument
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings
from stack.temporal_client import connect
from workflows.orders.saga import workflow_id

WAIT_SECONDS = 40.0
POLL_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Played:
    """One scene and what became of it."""

    scene: Scene
    order: OrderDocument
    seconds: float

    @property
    def as_expected(self) -> bool:
        return (self.order.status, self.order.reason) == (self.scene.expected, self.scene.reason)


@dataclass(frozen=True, slots=True)
class Performance:
    """`history`: where the cancelled order's can be looked at, while the stack is up."""

    played: list[Played]
    verified: VerifyReport
    history: str


async def perform(
    stack: EmbeddedStack,
    settings: Settings,
    customers: Sequence[Customer],
    products: Sequence[Product],
    say: Callable[[str], None],
) -> Performance:
    """All scenes at once, and then the books. Needs the stack up, with its schema and one worker."""
    async with AsyncExitStack() as open_till_the_end:

        async def app(window_seconds: float = 0.0) -> Shardwise:
            chosen = settings.model_copy(update={"cancellation_window_seconds": window_seconds})
            return await open_till_the_end.enter_async_context(await Shardwise.connect(settings=chosen))

        usual = await app()
        await usual.catalogue.import_customers(customers)
        await usual.catalogue.import_products(products)
        stage = _Stage(await connect(settings), app, stack, say)
        played = await asyncio.gather(*(_play(scene, stage) for scene in scenes()))
        return Performance(played, await usual.operations.verify(), await _history_address(stage, CANCELLED))


@dataclass(frozen=True, slots=True)
class _Stage:
    client: Client
    app: Callable[[float], Awaitable[Shardwise]]
    stack: EmbeddedStack
    say: Callable[[str], None]


async def _play(scene: Scene, stage: _Stage) -> Played:
    started = time.monotonic()
    app = await stage.app(scene.window_seconds)
    placing = asyncio.create_task(app.orders.place_order(scene.order, WAIT_SECONDS))
    order_id = scene.order.order_id
    if order_id == CANCELLED:
        await _in_its_window(stage, order_id)
        stage.say(f"cancelling {order_id}: its payment is held and its stock reserved")
        await app.orders.cancel(order_id, WAIT_SECONDS)
    if order_id == CRASHED:
        await _in_its_window(stage, order_id)
        await _kill_the_worker(stage)
    return Played(scene, await placing, time.monotonic() - started)


async def _in_its_window(stage: _Stage, order_id: str) -> None:
    """Returns once the order's history shows the timer of its cancellation window."""
    handle = stage.client.get_workflow_handle(workflow_id(order_id))
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(RPCError):  # Not started yet.
            async for event in handle.fetch_history_events(wait_new_event=True):
                if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
                    return
        await asyncio.sleep(POLL_SECONDS)
    raise Unreachable("demo_stalled", f"{order_id} did not reach its cancellation window")


async def _kill_the_worker(stage: _Stage) -> None:
    for worker in (await stage.stack.status()).workers:
        if worker.pid is not None:
            stage.say(f"kill -9 of {worker.name}, pid {worker.pid}, with {CRASHED} half done")
            process = psutil.Process(worker.pid)
            process.kill()
            await asyncio.to_thread(process.wait, WAIT_SECONDS)
    for line in await stage.stack.start_workers():
        stage.say(line)


async def _history_address(stage: _Stage, order_id: str) -> str:
    ui = (await stage.stack.status()).temporal.ui
    run = await stage.client.get_workflow_handle(workflow_id(order_id)).describe()
    return f"{ui}/namespaces/{run.namespace}/workflows/{quote(run.id, safe='')}/{run.run_id}/history"
