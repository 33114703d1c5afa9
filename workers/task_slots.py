"""How many workflow tasks a worker has at once: as many as it finishes in time.

A task's timeout runs from the moment at which a worker takes it. If a worker takes more than it can do, all tasks are
late: each is dropped half done, and issued again at once. So a worker that is late halves its limit, rests, and then
raises it by one every second, up to the setting. Tasks that it does not take wait in Temporal, where no timeout runs.
Workflows that it has begun are not held up by that.
"""

from __future__ import annotations

import logging
import threading
import time
from asyncio import sleep
from collections.abc import Callable

from temporalio.worker import (
    CustomSlotSupplier,
    FixedSizeSlotSupplier,
    SlotMarkUsedContext,
    SlotPermit,
    SlotReleaseContext,
    SlotReserveContext,
    WorkerTuner,
)

log = logging.getLogger("shardwise.worker")

LIMIT_MIN = 2
GROWTH_PER_SECOND = 1.0
REST_SECONDS_MIN, REST_SECONDS_MAX = 0.5, 8.0
# Late again within this time of the last rest: the next rest is twice as long.
CALM_SECONDS = 20.0
LOOK_EVERY_SECONDS = 0.05
# Temporal's own default.
OTHER_SLOTS = 100


class _Permit(SlotPermit):
    def __init__(self, is_sticky: bool) -> None:
        self.is_sticky = is_sticky
        self.is_used = False


class WorkflowTaskSlots(CustomSlotSupplier):
    """For one worker. Called from Temporal's threads as well as from the event loop."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        self._permits: set[_Permit] = set()
        self._cut_to = float(most)
        self._rest_seconds = 0.0
        self._resumes_at = clock()
        self._counts_again_at = clock()

    @property
    def limit(self) -> int:
        """How many tasks it may have at once, now."""
        rested = max(0.0, self._clock() - self._resumes_at)
        return min(self._most, int(self._cut_to + rested * GROWTH_PER_SECOND))

    def late(self, task_seconds: float) -> None:
        """Call this when a task was given up. Others that began before it may be late too: they count as the same
        event."""
        with self._lock:
            now = self._clock()
            if now < self._counts_again_at:
                return
            is_again = self._rest_seconds > 0 and now < self._resumes_at + CALM_SECONDS
            self._rest_seconds = min(2 * self._rest_seconds, REST_SECONDS_MAX) if is_again else REST_SECONDS_MIN
            self._cut_to = max(LIMIT_MIN, min(self.limit, self._used()) // 2)
            self._resumes_at = now + self._rest_seconds
            self._counts_again_at = now + task_seconds
            limits = f"{int(self._cut_to)} new workflow tasks at once, after a rest of {self._rest_seconds:g} s"
        log.warning(f"late: takes {limits}, and one more each second", extra={"code": "worker_late"})

    async def reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit:
        # Slots are freed by Temporal's threads, and by time.
        while (permit := self.try_reserve_slot(ctx)) is None:  # noqa: ASYNC110
            await sleep(LOOK_EVERY_SECONDS)
        return permit

    def try_reserve_slot(self, ctx: SlotReserveContext) -> SlotPermit | None:
        """Limits only workflows that the worker has not begun: those in its cache are cheap, and must go on to end.

        A poll holds a slot while it waits. Each of the two queues keeps one poll as long as its tasks may be taken.
        """
        with self._lock:
            limit = self._most if ctx.is_sticky else self.limit
            is_polled = any(each.is_sticky == ctx.is_sticky and not each.is_used for each in self._permits)
            is_full = self._used() >= limit or (is_polled and len(self._permits) >= limit)
            is_resting = not ctx.is_sticky and self._clock() < self._resumes_at
            if is_full or is_resting:
                return None
            permit = _Permit(ctx.is_sticky)
            self._permits.add(permit)
            return permit

    def mark_slot_used(self, ctx: SlotMarkUsedContext) -> None:
        assert isinstance(ctx.permit, _Permit)
        ctx.permit.is_used = True

    def release_slot(self, ctx: SlotReleaseContext) -> None:
        assert isinstance(ctx.permit, _Permit)
        with self._lock:
            self._permits.discard(ctx.permit)

    def _used(self) -> int:
        return sum(each.is_used for each in self._permits)


def tuned(slots: WorkflowTaskSlots, activities_max: int) -> WorkerTuner:
    """Fixed slots for all other tasks, as without a tuner."""
    fixed = FixedSizeSlotSupplier(OTHER_SLOTS)
    return WorkerTuner.create_composite(
        workflow_supplier=slots,
        activity_supplier=FixedSizeSlotSupplier(activities_max),
        local_activity_supplier=fixed,
        nexus_supplier=fixed,
    )
