"""A worker that kills itself (-9) when every order of its plan has come to the border where it must die.

The plan is one JSON document on stdin: `{"databases": {...}, "temporal": address, "queue": name, "like": the queue
whose work it does, "border": border, "activities": {saga id: [activity, participant]}}`. On stdout it says the saga ids
of those that have come there, one a line.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from shards.connections.cluster import Cluster
from stack.settings import Settings
from stack.temporal_client import connect_to
from tests.faults.declared import DECLARED
from tests.faults.points import Attempt, Border, Effect, StoppingRouter, intercepted
from tests.faults.services import host_every_service
from workers import task_slots
from workers.run import HOSTED, new_worker


class Gate:
    """Opens when every saga waits at it. A saga that waits at the border has a transaction open, and
    no event of its shard is read behind that: choreographed orders that are still on their way would never arrive."""

    def __init__(self, awaited: set[str]) -> None:
        self._awaited = awaited
        self._open = asyncio.Event()

    async def passed(self, saga_id: str) -> None:
        self._awaited.discard(saga_id)
        if not self._awaited:
            self._open.set()
        await self._open.wait()


class DoomedSaga:
    def __init__(
        self, saga_id: str, activity: str, participant: str, border: Border, missing: set[str], gate: Gate
    ) -> None:
        """`missing`: the sagas that have not come to the border yet."""
        self._saga_id = saga_id
        self._activity = activity
        self._participant = participant
        self._border = border
        self._missing = missing
        self._gate = gate

    async def around(self, attempt: Attempt, effect: Effect) -> Any:
        if attempt.activity != self._activity or not attempt.is_of(self._participant):
            return await effect()
        await self._gate.passed(self._saga_id)
        if DECLARED[self._activity].commits_by_itself and self._border is Border.BEFORE:
            await self._meet(self._border)
        attempt.stop_at = self._meet
        result = await effect()
        # An activity that gets here has no transaction with borders: it reads, or commits by itself.
        await self._meet(self._border)
        return result

    async def _meet(self, reached: Border) -> None:
        if reached is not self._border:
            return
        self._missing.discard(self._saga_id)
        print(self._saga_id, flush=True)
        if not self._missing:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.Event().wait()


async def main() -> None:
    plan = json.load(sys.stdin)
    databases, queue = plan["databases"], plan["queue"]
    missing = set(plan["activities"])
    gate = Gate(set(missing))
    # All of them have to wait at the gate at once, on a machine that is slow too.
    task_slots.LIMIT_MIN, task_slots.REST_SECONDS_MAX = len(missing), task_slots.REST_SECONDS_MIN
    sagas = {
        saga_id: DoomedSaga(saga_id, activity, participant, Border(plan["border"]), missing, gate)
        for saga_id, (activity, participant) in plan["activities"].items()
    }
    client = intercepted(await connect_to({"target_host": plan["temporal"]}, timeout_seconds=10), sagas)
    host_every_service()
    HOSTED[queue] = HOSTED[plan["like"]]
    async with (
        Cluster(databases["shards"], databases["catalog"], databases["read_model"], pool_size=20) as cluster,
        new_worker(client, StoppingRouter(cluster), Settings(), queue),
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
