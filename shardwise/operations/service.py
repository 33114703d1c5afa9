"""Operations: verify, recover, trace, watch, the read model, and a bench of reads."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from activities.reactors import ReactorStarter
from domain.balancing import Balancing
from domain.choices import choice
from domain.consistency import Level
from domain.errors import Refused, ShardwiseError, Unreachable
from domain.numbers import check_seconds
from domain.progress import Report, no_report
from shards.audit.audit import Audit
from shards.audit.report import VerifyReport, report_of
from shards.monitoring.event_lag import EventsDocument, events_document
from shards.outbox.cursors import REACTORS
from shards.outbox.parked_events import list_parked
from shards.projection import switching
from shards.projection.projector import Projector
from shards.reading.shard_reads import ReadSettings
from shards.tables.versions import existing
from shardwise.connections import Installation
from shardwise.operations.in_doubt import resolve_in_doubt
from shardwise.operations.partition import PartitionDocument, partition
from shardwise.operations.reads_bench import ReadsBenchDocument, ReadsBenchOptions, bench_reads
from shardwise.operations.rebuild import ReadModelRebuilds
from shardwise.operations.rebuilt import PlanDocument, RebuildDocument, document_of, plan_of
from shardwise.operations.recovered import RecoverReport
from shardwise.operations.recovered import report_of as recovered
from shardwise.operations.recovery import Recovery
from shardwise.operations.stack_status import StackReport, stack_report
from shardwise.operations.watch.documents import WatchDocument
from shardwise.operations.watch.watcher import Watcher
from shardwise.orders.service import Orders
from shardwise.reading import Reading
from shardwise.temporal.calls import WorkflowFailed
from shardwise.temporal.states import TemporalWorkflowStates
from tracing.documents import TraceDocument
from tracing.read import trace_order
from workflows.interfaces import Rebuild

__all__ = ["Operations", "VerifyReport"]


class Operations:
    """Raises `InvalidInput`, `Refused`, and `Unreachable` if a server that is needed does not answer."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def verify(self, progress: Report = no_report) -> VerifyReport:
        """Checks every cent, unit, order and transfer, on all shards and against Temporal. Correct while they
        run. Changes nothing."""
        to = self._installation.without_timeouts
        audit = Audit(to.cluster, TemporalWorkflowStates(await to.temporal()), progress)
        await audit.run()
        return report_of(audit)

    async def recover(self, dry_run: bool = False, progress: Report = no_report) -> RecoverReport:
        """Ends the two-phase commits that nobody decides any more, and starts sagas again that no workflow works on.
        Safe to repeat, and to run in several processes at once. A crash leaves some started; the others are found
        again.
        """
        to = self._installation.without_timeouts
        swept = await resolve_in_doubt(to, dry_run)
        recovery = Recovery(to, self._installation.settings, progress)
        found = await recovery.find()
        if not dry_run:
            await recovery.start(found)
        return recovered(found, swept, dry_run)

    async def trace(self, order_id: str) -> TraceDocument:
        """The path of an order: steps, attempts, shards, the decision, what was undone. From Temporal's history and the
        shards' rows; the document names the sources that are down.

        `NotFound` with `unknown_order`; `Refused` as by `Orders.show` if it was refused at its start.
        """
        try:
            found = await trace_order(
                self._installation.with_timeouts.cluster, self._installation.with_timeouts.temporal, order_id
            )
        except Refused:
            await self._assert_start_not_refused(order_id)
            raise
        if not found.steps:
            await self._assert_start_not_refused(order_id)
        return found

    async def _assert_start_not_refused(self, order_id: str) -> None:
        """Passes if a server does not answer."""
        with contextlib.suppress(Unreachable):
            await Orders(self._installation, Reading(self._installation)).show(order_id)

    async def look(self, interval: float) -> WatchDocument:
        """The installation at a glance. Takes `interval` seconds: one look has no rate."""
        watcher = Watcher(self._installation.without_timeouts, self._installation.settings)
        await watcher.look_twice(interval)
        return watcher.document()

    @asynccontextmanager
    async def watching(self, interval: float) -> AsyncIterator[Watcher]:
        """Polls all sources inside the block; `document()` returns what they last reported."""
        watcher = Watcher(self._installation.without_timeouts, self._installation.settings)
        async with watcher.watching(interval):
            yield watcher

    async def status(self) -> StackReport:
        """Of the embedded stack: which of its parts are up, and which other workers poll. Changes nothing. A part that
        is down is reported, not raised."""
        return await stack_report(self._installation.settings)

    async def partition(
        self, shard: str, seconds: float, on_progress: Callable[[float], None] = lambda _: None
    ) -> PartitionDocument:
        """Cuts a shard's primary of the embedded stack off from its clients for so long, and returns when they can
        reach it again. Its replicas go on receiving. Nothing is lost: what was under way is rolled back.

        Cancelled, it heals at once; killed, it leaves a process that heals when the time is up. `up` and `down` heal
        too. `on_progress` is called with the seconds that are left. `Refused` with `already_partitioned`.
        """
        return await partition(self._installation.settings, shard, seconds, on_progress)

    async def events(self) -> EventsDocument:
        """How far the read model and the reactors are behind each shard. A shard that is down is reported as down."""
        return await events_document(
            self._installation.with_timeouts.cluster, self._installation.settings.lag_alarm_seconds
        )

    async def bench_reads(
        self,
        reads: int = 10_000,
        concurrency: int = 8,
        consistency: Level | str = Level.EVENTUAL,
        balancing: Balancing | str | None = None,
        shard: str | None = None,
        progress: Report = no_report,
    ) -> ReadsBenchDocument:
        """Reads existing products, or accounts where there are none, and says which server answered how many of the
        reads, and how fast. Changes nothing. `balancing` None: that of the settings. `shard`: only rows of that one.

        `Refused` with `nothing_to_read` if there are no such rows.
        """
        options = ReadsBenchOptions(reads, concurrency, choice(Level, consistency, "consistency"), shard)
        settings = self._installation.settings
        balanced = settings.balancing if balancing is None else choice(Balancing, balancing, "balancing")
        how = ReadSettings(balanced, settings.replica_lag_bytes_max, settings.read_wait_seconds)
        return await bench_reads(self._installation.with_timeouts.router, how, options, progress)

    # ── the read model ──────────────────────────────────────────────────────────────────────────────────────

    async def plan_rebuild(self) -> PlanDocument:
        """What `rebuild` would fill. Changes nothing."""
        to = self._installation.without_timeouts
        async with to.cluster.read_model.transaction() as connection:
            versions = await existing(connection)
        refused = switching.why_not_begin(versions)
        return plan_of(
            await self._rebuilds.to_fill(),
            [each.value for each in versions],
            await self._rebuilds.is_running(),
            refused.message if refused else None,
        )

    async def rebuild(self, progress: Report = no_report, stuck_after: float = 60.0) -> RebuildDocument:
        """Fills a new version of the read model beside the old, compares the two, and switches. Joins one that runs.

        Returns also when nothing has moved for `stuck_after` seconds; the rebuild then goes on by itself. Undone by
        `revert`, until `confirm`. `ShardwiseError` with `rebuild_broke` if its workflow was ended: call it again.
        """
        check_seconds(stuck_after, "stuck_after", above_zero=True)
        began = time.monotonic()
        handle = await self._rebuilds.start(Rebuild())
        try:
            rebuilt = await self._rebuilds.ended(handle, progress, stuck_after)
        except WorkflowFailed as failed:
            message = f"the rebuild ended before it was done; the same command starts a new one: {failed}"
            raise ShardwiseError("rebuild_broke", message) from failed
        return document_of(rebuilt, time.monotonic() - began)

    async def rebuild_has_worker(self) -> bool:
        """Whether a worker polls for rebuilds. Without one, a rebuild waits."""
        return await self._rebuilds.has_worker()

    async def confirm_rebuild(self) -> bool:
        """Drops the version that was live before the last switch. Returns whether there was one.
        Idempotent. Never undone."""
        return await switching.confirm(self._installation.with_timeouts.cluster.read_model)

    async def revert_rebuild(self) -> bool:
        """Goes back to the version that was live before the last switch, and drops the new one, or what an unfinished
        rebuild has left. Returns whether it went back. `Refused` with `rebuild_running`."""
        if await self._rebuilds.is_running():
            raise Refused("rebuild_running", "a rebuild runs: wait for its end, or cancel it in Temporal's UI")
        cluster = self._installation.with_timeouts.cluster
        return await switching.revert(cluster.read_model, cluster.primaries)

    async def retry_parked(self) -> dict[str, int]:
        """Takes once more what was parked (dead letters), after the reason was repaired: into the read model, and to
        the reactors. Returns by shard how much is still parked. Idempotent."""
        to = self._installation.with_timeouts
        read_model = to.cluster.read_model
        async with read_model.transaction() as connection:
            versions = await existing(connection)
        parked = {}
        for name, shard in to.cluster.primaries.items():
            aggregates = [await Projector(shard, read_model).retry_parked(version) for version in versions]
            async with shard.transaction() as connection:
                has_events = bool(await list_parked(connection, REACTORS, limit=1))
            # If there are none, Temporal is not needed.
            events = await ReactorStarter(shard, await to.temporal()).retry_parked() if has_events else 0
            parked[name] = sum(aggregates) + events
        return parked

    @property
    def _rebuilds(self) -> ReadModelRebuilds:
        return ReadModelRebuilds(
            self._installation.without_timeouts.temporal, self._installation.without_timeouts.cluster
        )
