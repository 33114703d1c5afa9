"""A worker that kills itself (-9) when every transfer of its plan has come to the border where it must die.

The plan is one JSON document on stdin: `{"databases": {...}, "temporal": {"target_host": address, "namespace": name},
"queue": name, "borders": {saga id: border}}`. On stdout it says the saga ids of those that have come there, one a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

from shards.connections.cluster import Cluster
from shards.routing.router import Router
from stack.settings import Settings
from stack.temporal_client import connect_to
from tests.faults.phases import BORDERS, PhaseWatcher
from tests.faults.points import intercepted
from workers.run import HOSTED, new_worker
from workflows.transfers.transfer import TASK_QUEUE


async def main() -> None:
    plan = json.load(sys.stdin)
    databases, queue, missing = plan["databases"], plan["queue"], set(plan["borders"])

    async def die(saga_id: str) -> None:
        missing.discard(saga_id)
        print(saga_id, flush=True)
        if not missing:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()

    watchers = {saga_id: PhaseWatcher(saga_id, BORDERS[name], die) for saga_id, name in plan["borders"].items()}
    client = intercepted(await connect_to(plan["temporal"], timeout_seconds=10), watchers)
    HOSTED[queue] = HOSTED[TASK_QUEUE]
    async with (
        Cluster(databases["shards"], databases["catalog"], databases["read_model"], pool_size=20) as cluster,
        new_worker(client, Router(cluster), Settings(), queue),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
