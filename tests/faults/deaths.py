"""Workers that die: one process for all orders that meet the same border, killed when the last has come there."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import Client

from shards.routing.router import Router
from stack.settings import Databases, Settings
from tests.faults.faults import WorkerDies
from tests.faults.placing import place
from tests.faults.saga import WatchedSaga
from workers.run import HOSTED, new_worker

DIES_WITHIN_SECONDS = 45.0


@dataclass(frozen=True)
class Surroundings:
    client: Client
    router: Router
    settings: Settings
    databases: Databases
    queues: dict[str, str]
    """Where the reactors of choreographed orders go whose worker is to die, by saga id."""


def batched_by_death(sagas: Sequence[WatchedSaga]) -> list[list[WatchedSaga]]:
    batches = defaultdict(list)
    for saga in sagas:
        fault = saga.case.fault
        assert isinstance(fault, WorkerDies)
        batches[fault.border, fault.way, saga.case.mode, saga.hosted].append(saga)
    return list(batches.values())


async def live_through(batch: Sequence[WatchedSaga], around: Surroundings, queue: str) -> None:
    """Starts the orders on a worker that dies, cancels them while there is none, and ends them on another one."""
    fault = batch[0].case.fault
    assert isinstance(fault, WorkerDies)
    worker = await _start(batch, fault, around, queue)
    around.queues.update({saga.saga_id: queue for saga in batch})
    try:
        for saga in batch:
            # Short, or the next worker would wait for the dead one's tasks as long as a customer has to.
            await place(saga, around.client, queue, task_timeout=timedelta(seconds=2))
        died = await _death_of(worker)
    finally:
        if worker.returncode is None:
            worker.kill()
            await worker.wait()
    assert worker.stdout is not None
    came = set((await worker.stdout.read()).decode().split())
    for saga in batch:
        if saga.saga_id not in came:
            saga.faults.append(f"did not come to the border where its worker dies; the worker ended with {died}")
    for saga in batch:
        if fault.way == "temporal":
            await saga.cancel_by_temporal()
        elif fault.way == "update":
            saga.in_background(saga.cancel_by_update())
    HOSTED[queue] = HOSTED[batch[0].hosted]
    async with new_worker(around.client, around.router, around.settings, queue):
        await asyncio.gather(*(saga.end() for saga in batch))


async def _death_of(worker: asyncio.subprocess.Process) -> int | None:
    """How it ended; None if it did not in time."""
    try:
        async with asyncio.timeout(DIES_WITHIN_SECONDS):
            return await worker.wait()
    except TimeoutError:
        return None


async def _start(
    batch: Sequence[WatchedSaga], fault: WorkerDies, around: Surroundings, queue: str
) -> asyncio.subprocess.Process:
    databases = around.databases
    plan = {
        "databases": {
            "shards": databases.shards,
            "catalog": databases.catalog,
            "read_model": databases.read_model,
        },
        "temporal": around.client.service_client.config.target_host,
        "queue": queue,
        "like": batch[0].hosted,
        "border": fault.border,
        "activities": {saga.saga_id: (saga.case.activity, saga.participant) for saga in batch},
    }
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.faults.dying_worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(plan).encode())
    worker.stdin.close()
    return worker
