"""Operations: is all accounted for, what waits, and what brings it to an end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from activities.reactors import ReactorStarter
from domain.errors import Refused, ShardwiseError, Unreachable
from domain.numbers import check_seconds
from domain.progress import Report, untold
from shards.audit.audit import Audit
from shards.audit.report import VerifyReport, report_of
from shards.monitoring.event_lag import EventsDocument, events_document
from shards.outbox.cursors import REACTORS
from shards.outbox.parked_events import list_parked
from shards.projection import switching
from shards.projection.projector import Projector
from shards.tables.versions import existing
from shardwise.connections import Opened
from shardwise.operations.in_doubt import resolve_in_doubt
from shardwise.operations.rebuild import ReadModelRebuilds
from shardwise.operations.rebuilt import PlanDocument, RebuildDocument, document_of, plan_of
from shardwise.operations.recovered import RecoverReport
from shardwise.operations.recovered import report_of as recovered
from shardwise.operations.recovery import Recovery
from shardwise.operations.stack_status import StackReport, stack_report
from shardwise.operations.watch.documents import WatchDocument
from shardwise.operations.watch.watcher import Watcher
from shardwise.orders.service import Orders
from shardwise.temporal.calls import WorkflowFailed
from shardwise.temporal.states import TemporalWorkflowStates
from tracing.documents import TraceDocument
from tracing.read import trace_order
from workflows.interfaces import Rebuild

__all__ = ["Operations", "VerifyReport"]


class Operations:
    """Raises `InvalidInput`, `Refused`, and `Unreachable` where a server that is needed does not answer."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened

    async def verify(self, progress: Report = untold) -> VerifyReport:
        """Checks every cent, unit, order and transfer, on all shards and against Temporal. Right while they run.
        Changes nothing."""
        to = self._opened.without_timeouts
        audit = Audit(to.cluster, TemporalWorkflowStates(await to.temporal()), progress)
        await audit.run()
        return report_of(audit)

    async def recover(self, dry_run: bool = False, progress: Report = untold) -> RecoverReport:
        """Ends the two-phase commits that nobody decides any more, and starts the workflows of sagas again that nobody
        works on. Safe to repeat, and beside others who do it. A crash leaves some started; the others are found again.
        """
        to = self._opened.without_timeouts
        swept = await resolve_in_doubt(to, dry_run)
        recovery = Recovery(to, self._opened.settings, progress)
        found = await recovery.find()
        if not dry_run:
            await recovery.start(found)
        return recovered(found, swept, dry_run)

    async def trace(self, order_id: str) -> TraceDocument:
        """The path of an order: steps, attempts, shards, the decision, what was undone. From Temporal's history and the
        shards' rows; what is away is left out, and said.

        `NotFound` with `unknown_order`; `Refused` in the words of `Orders.show` where it was refused at its start.
        """
        try:
            found = await trace_order(self._opened.usual.cluster, self._opened.usual.temporal, order_id)
        except Refused:
            await self._assert_let_in(order_id)
            raise
        if not found.steps:
            await self._assert_let_in(order_id)
        return found

    async def _assert_let_in(self, order_id: str) -> None:
        """Quiet where nobody answers."""
        with contextlib.suppress(Unreachable):
            await Orders(self._opened).show(order_id)

    async def look(self, interval: float) -> WatchDocument:
        """The installation at a glance. Takes `interval` seconds: one look has no rate."""
        watcher = Watcher(self._opened.without_timeouts, self._opened.settings)
        await watcher.look_twice(interval)
        return watcher.document()

    @asynccontextmanager
    async def watching(self, interval: float) -> AsyncIterator[Watcher]:
        """Looks again and again inside the block: `document()` tells what was seen last."""
        watcher = Watcher(self._opened.without_timeouts, self._opened.settings)
        async with watcher.watching(interval):
            yield watcher

    async def status(self) -> StackReport:
        """Of the embedded stack: which of its parts are up, and who polls beside its workers. Changes nothing. What is
        down is told, not raised."""
        return await stack_report(self._opened.settings)

    async def events(self) -> EventsDocument:
        """How far the read model and the reactors are behind each shard. A shard that is away is told as that."""
        return await events_document(self._opened.usual.cluster, self._opened.settings.lag_alarm_seconds)

    # ── the read model ──────────────────────────────────────────────────────────────────────────────────────

    async def plan_rebuild(self) -> PlanDocument:
        """What `rebuild` would fill. Changes nothing."""
        to = self._opened.without_timeouts
        async with to.cluster.read_model.transaction() as connection:
            versions = await existing(connection)
        refused = switching.why_not_begin(versions)
        return plan_of(
            await self._rebuilds.to_fill(),
            [each.value for each in versions],
            await self._rebuilds.is_running(),
            refused.message if refused else None,
        )

    async def rebuild(self, progress: Report = untold, stuck_after: float = 60.0) -> RebuildDocument:
        """Fills a new version of the read model beside the old, compares the two, and switches. Joins one that runs.

        Returns also when nothing has moved for `stuck_after` seconds, and goes on then by itself. Undone by `revert`,
        until `confirm`. `ShardwiseError` with `rebuild_broke` where its workflow was ended: another begins anew.
        """
        check_seconds(stuck_after, "stuck_after", above_zero=True)
        began = time.monotonic()
        handle = await self._rebuilds.start(Rebuild())
        try:
            rebuilt = await self._rebuilds.ended(handle, progress, stuck_after)
        except WorkflowFailed as broke:
            message = f"the rebuild ended before its end, the same command begins anew: {broke}"
            raise ShardwiseError("rebuild_broke", message) from broke
        return document_of(rebuilt, time.monotonic() - began)

    async def rebuild_has_worker(self) -> bool:
        """Whether a worker polls for rebuilds. Without one, a rebuild waits."""
        return await self._rebuilds.has_worker()

    async def confirm_rebuild(self) -> bool:
        """Drops the version that was live before the last switch. Idempotent; whether there was one. Never undone."""
        return await switching.confirm(self._opened.usual.cluster.read_model)

    async def revert_rebuild(self) -> bool:
        """Goes back to the version that was live before the last switch, and drops the new one, or what a rebuild has
        left that did not come to its switch. Whether it went back. `Refused` with `rebuild_running`."""
        if await self._rebuilds.is_running():
            raise Refused("rebuild_running", "a rebuild runs: wait for its end, or cancel it in Temporal's UI")
        cluster = self._opened.usual.cluster
        return await switching.revert(cluster.read_model, cluster.primaries)

    async def retry_parked(self) -> dict[str, int]:
        """Takes once more what was parked, after its reason was mended: into the read model, and to the reactors. By
        shard, how much is parked still. Idempotent."""
        to = self._opened.usual
        read_model = to.cluster.read_model
        async with read_model.transaction() as connection:
            versions = await existing(connection)
        parked = {}
        for name, shard in to.cluster.primaries.items():
            aggregates = [await Projector(shard, read_model).retry_parked(version) for version in versions]
            async with shard.transaction() as connection:
                has_events = bool(await list_parked(connection, REACTORS, limit=1))
            # Without any, Temporal need not answer.
            events = await ReactorStarter(shard, await to.temporal()).retry_parked() if has_events else 0
            parked[name] = sum(aggregates) + events
        return parked

    @property
    def _rebuilds(self) -> ReadModelRebuilds:
        return ReadModelRebuilds(self._opened.without_timeouts.temporal, self._opened.without_timeouts.cluster)
