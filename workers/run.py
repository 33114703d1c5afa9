"""A worker process: the one place where workflows, activities and shards are put together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from temporalio.client import Client
from temporalio.worker import Interceptor, Worker

from activities.registry import OF_OUTBOX, OF_TRANSFERS, Wiring, activities_at, activities_of
from domain.choreography import Service
from domain.errors import InvalidInput
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from stack.settings import Settings, resolve_databases
from stack.temporal_client import connect
from workers.lasting.in_doubt_sweeper import sweeper
from workers.lasting.keeping import Start, kept_running
from workers.lasting.relays import relays
from workers.migration.migrate import assert_ready
from workers.runner.late_tasks import LateTaskRunner, LateTasks
from workers.runner.sandbox import workflow_runner
from workers.task_slots import WorkflowTaskSlots, tuned
from workflows.orders.choreography import REACTORS
from workflows.orders.placement import PlaceChoreographedOrder
from workflows.orders.saga import TASK_QUEUE as ORDERS
from workflows.orders.saga import OrderSaga
from workflows.outbox_relay import TASK_QUEUE as OUTBOX
from workflows.outbox_relay import OutboxRelay
from workflows.read_model_rebuild import ReadModelRebuild
from workflows.transfers.batch import TransferBatchWorkflow
from workflows.transfers.in_doubt_recovery import InDoubtRecovery
from workflows.transfers.in_doubt_sweeper import InDoubtSweeper
from workflows.transfers.transfer import TASK_QUEUE as TRANSFERS
from workflows.transfers.transfer import TransferWorkflow

log = logging.getLogger("shardwise.worker")

DRAIN_SECONDS = 12.0

# The SDK's default for short activities; each shard's outbox has three that run for long.
ACTIVITIES_MAX, OUTBOX_ACTIVITIES_MAX = 100, 400

# A workflow's tasks go first to the worker that has it cached. After that worker's death they wait this long before
# another worker may take them.
STICKY_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Hosted:
    """What one task queue offers."""

    workflows: Sequence[type]
    activities: Callable[[Wiring], Sequence[Callable[..., Any]]]


def _at(service: Service) -> Callable[[Wiring], Sequence[Callable[..., Any]]]:
    return lambda wiring: activities_at(service, wiring)


def _of(*interfaces: type) -> Callable[[Wiring], Sequence[Callable[..., Any]]]:
    return lambda wiring: activities_of(interfaces, wiring)


def _reactors(service: Service) -> Sequence[type]:
    return [hosted for reactor, hosted in REACTORS.items() if reactor.service is service]


HOSTED: dict[str, Hosted] = {
    ORDERS: Hosted([OrderSaga, PlaceChoreographedOrder, *_reactors(Service.ORDERS)], _at(Service.ORDERS)),
    Service.INVENTORY: Hosted(_reactors(Service.INVENTORY), _at(Service.INVENTORY)),
    Service.PAYMENT: Hosted(_reactors(Service.PAYMENT), _at(Service.PAYMENT)),
    Service.SHIPPING: Hosted(_reactors(Service.SHIPPING), _at(Service.SHIPPING)),
    TRANSFERS: Hosted([TransferWorkflow, TransferBatchWorkflow, InDoubtSweeper, InDoubtRecovery], _of(*OF_TRANSFERS)),
    OUTBOX: Hosted([OutboxRelay, ReadModelRebuild], _of(*OF_OUTBOX)),
}


async def run_worker(settings: Settings, queues: Sequence[str], name: str | None = None) -> None:
    """Polls `queues` (none given: all) until SIGTERM or SIGINT, then drains: finishes what has begun.

    Starts only on a migrated installation, else `NotMigrated`. Once it polls it writes the file that
    `SHARDWISE_READY_FILE` names. A crash loses nothing: Temporal gives its tasks to another worker.
    """
    chosen = list(queues) or list(HOSTED)
    for queue in chosen:
        if queue not in HOSTED:
            raise InvalidInput("queue", f"queue: expected one of {', '.join(HOSTED)}, got {queue!r}")
    databases = resolve_databases(settings)
    stop = _stop_signal()
    async with Cluster(databases.shards, databases.catalog, databases.read_model, settings.pool_size) as cluster:
        client = await connect(settings)
        await assert_ready(cluster, client)
        async with polling(client, cluster, settings, chosen, name), kept_running(_lasting(client, cluster, chosen)):
            _write_ready_file(chosen)
            log.info("polling %s", ", ".join(chosen))
            await stop.wait()
            log.info("draining")


def _lasting(client: Client, cluster: Cluster, queues: Sequence[str]) -> dict[str, Start]:
    """The workflows that must always run, of those that these queues host."""
    return (relays(client, cluster.primaries) if OUTBOX in queues else {}) | (
        sweeper(client) if TRANSFERS in queues else {}
    )


@asynccontextmanager
async def polling(
    client: Client, cluster: Cluster, settings: Settings, queues: Sequence[str], name: str | None = None
) -> AsyncIterator[None]:
    """Workers for `queues` that poll inside the block and drain at its end."""
    router = Router(cluster)
    async with contextlib.AsyncExitStack() as workers:
        for queue in queues:
            await workers.enter_async_context(new_worker(client, router, settings, queue, name))
        yield


def new_worker(
    client: Client,
    router: Router,
    settings: Settings,
    queue: str,
    name: str | None = None,
    polled: str | None = None,
    interceptors: Sequence[Interceptor] = (),
) -> Worker:
    """One queue's worker, not yet polling. `polled`: another queue to poll instead, with what `queue` offers."""
    hosted, slots = HOSTED[queue], WorkflowTaskSlots(settings.max_concurrent_workflow_tasks)
    return Worker(
        client,
        task_queue=polled or queue,
        interceptors=interceptors,
        workflows=hosted.workflows,
        activities=hosted.activities(Wiring(router, settings.outbox_keep_seconds)),
        workflow_runner=LateTaskRunner(workflow_runner(settings.workflow_sandbox), LateTasks(slots.late)),
        tuner=tuned(slots, OUTBOX_ACTIVITIES_MAX if queue == OUTBOX else ACTIVITIES_MAX),
        # A cache smaller than the number of workflows that run at once costs more than half of the throughput.
        max_cached_workflows=settings.max_cached_workflows,
        sticky_queue_schedule_to_start_timeout=timedelta(seconds=STICKY_SECONDS),
        graceful_shutdown_timeout=timedelta(seconds=DRAIN_SECONDS),
        identity=f"{name}@{os.getpid()}" if name else None,
    )


def _stop_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _write_ready_file(queues: Sequence[str]) -> None:
    ready_file = os.environ.get("SHARDWISE_READY_FILE")
    if ready_file:
        draft = Path(ready_file + ".draft")
        draft.write_text(json.dumps({"queues": list(queues)}))
        draft.replace(ready_file)
