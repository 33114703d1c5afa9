"""`demo`: five orders on a stack of their own, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]
import typer
from temporalio.api.enums.v1 import EventType
from temporalio.service import RPCError

from cli.audit import Audit
from cli.common import run_async
from cli.connections import Connections, connected
from cli.demo_report import Shown, Stays, Told
from cli.demo_story import CANCELLED, CRASHED, Scene, sample_customers, sample_products, scenes
from cli.interrupts import Interrupts
from cli.keypress import key_pressed, somebody_is_there
from cli.order_desk import OrderDesk
from cli.output import Output, output
from cli.stack_commands import Wanted, bring_up
from cli.workflow_states import TemporalWorkflowStates
from domain.errors import Unreachable
from shards.catalogue_import import import_customers, import_products
from stack.embedded.stack import EmbeddedStack
from stack.settings import Settings, load_settings
from workflows.order_saga import workflow_id

WAIT_SECONDS = 40.0
POLL_SECONDS = 0.05


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running, to look at it.")] = False,
) -> int:
    """Run five orders on a temporary stack: confirmed, refused twice, cancelled, and one through a worker's death.

    Ends with a table of what happened to each and why, and `verify`. At a terminal the stack stays up until a key is
    pressed, for a look at one history in Temporal's UI. Exit code 0 only if all was as expected.
    """
    return run_async(_demo(keep, output()))


async def _demo(keep: bool, out: Output) -> int:
    started, interrupts = time.monotonic(), Interrupts()
    try:
        return await _played(keep, out, started, interrupts)
    except BaseException:
        if interrupted := interrupts.as_error():
            raise interrupted from None
        raise


async def _played(keep: bool, out: Output, started: float, interrupts: Interrupts) -> int:
    async with _temporary_stack(keep, out, interrupts) as (stack, settings):
        await bring_up(stack, settings, Wanted(shards=None, workers=1, detach=True), out.progress, usual_ports=False)
        async with connected(settings) as to:
            await import_customers(to.router, sample_customers(), _no_progress)
            await import_products(to.router, sample_products(), _no_progress)
            told = await asyncio.gather(*(_play(scene, Stage(to, settings, stack, out)) for scene in scenes()))
            audit = Audit(to.cluster, TemporalWorkflowStates(await to.temporal()), _no_progress)
            await audit.run()
            ui = await _history_address(to, stack, CANCELLED)
        stays = Stays.KEPT if keep else Stays.UNTIL_A_KEY if somebody_is_there(out) else Stays.NOT
        shown = Shown(told, audit, ui if stays is not Stays.NOT else None, time.monotonic() - started)
        out.result(shown.document(), shown.page(stays, stack.data_dir))
        if stays is Stays.UNTIL_A_KEY:
            await key_pressed()
            out.progress("stopping it")
    return 0 if shown.ok else 1


@asynccontextmanager
async def _temporary_stack(
    keep: bool, out: Output, interrupts: Interrupts
) -> AsyncIterator[tuple[EmbeddedStack, Settings]]:
    """Gone afterwards with its processes and files, also when the demo fails or is interrupted, however often; `keep`
    leaves it."""
    data_dir = Path(tempfile.mkdtemp(prefix="shardwise-demo-"))
    settings = load_settings(data_dir).model_copy(update={"shards": {}, "catalog_dsn": None, "read_model_dsn": None})
    stack = EmbeddedStack(data_dir, settings, out.progress)
    kept = False
    try:
        yield stack, settings
        kept = keep
    finally:
        interrupts.clean_up()
        if not kept:
            await stack.stop()
            shutil.rmtree(data_dir, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Stage:
    to: Connections
    settings: Settings
    stack: EmbeddedStack
    out: Output

    def desk(self, window_seconds: float = 0.0) -> OrderDesk:
        return OrderDesk(self.to, self.settings.model_copy(update={"cancellation_window_seconds": window_seconds}))


async def _play(scene: Scene, stage: Stage) -> Told:
    started = time.monotonic()
    placing = asyncio.create_task(stage.desk(scene.window_seconds).place(scene.order, WAIT_SECONDS))
    order_id = scene.order.order_id
    if order_id == CANCELLED:
        await _in_its_window(stage, order_id)
        stage.out.progress(f"cancelling {order_id}: its payment is held and its stock reserved")
        await stage.desk().cancel(order_id, WAIT_SECONDS)
    if order_id == CRASHED:
        await _in_its_window(stage, order_id)
        await _kill_the_worker(stage)
    return Told(scene, await placing, time.monotonic() - started)


async def _in_its_window(stage: Stage, order_id: str) -> None:
    """Returns once the order's history shows the timer of its cancellation window."""
    client = await stage.to.temporal()
    handle = client.get_workflow_handle(workflow_id(order_id))
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(RPCError):  # Not started yet.
            async for event in handle.fetch_history_events(wait_new_event=True):
                if event.event_type == EventType.EVENT_TYPE_TIMER_STARTED:
                    return
        await asyncio.sleep(POLL_SECONDS)
    raise Unreachable("demo_stalled", f"{order_id} did not reach its cancellation window")


async def _kill_the_worker(stage: Stage) -> None:
    for worker in (await stage.stack.status()).workers:
        if worker.pid is not None:
            stage.out.progress(f"kill -9 of {worker.name}, pid {worker.pid}, with {CRASHED} half done")
            process = psutil.Process(worker.pid)
            process.kill()
            await asyncio.to_thread(process.wait, WAIT_SECONDS)
    for line in await stage.stack.start_workers():
        stage.out.progress(line)


async def _history_address(to: Connections, stack: EmbeddedStack, order_id: str) -> str:
    ui = (await stack.status()).temporal.ui
    run = await (await to.temporal()).get_workflow_handle(workflow_id(order_id)).describe()
    return f"{ui}/namespaces/{run.namespace}/workflows/{quote(run.id, safe='')}/{run.run_id}/history"


def _no_progress(*_: object) -> None:
    """Five orders need no progress bar."""
