"""The product on real servers: a short run without violations, and each planted bug found. `run` is the long one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import islice

import pytest

from domain.errors import SessionLost
from shards.reading import vouching
from shards.reading.served import recording
from shardwise import Shardwise
from shardwise.sessions import Session
from tests.histories.clients import Caller, Client, new_rows
from tests.histories.operations import History, Level
from tests.histories.planted import PLANTED, forks_ignored, xids_unchecked
from tests.histories.probe import primary_behind, probe
from tests.histories.promotion import Promotion
from tests.histories.real_run import Plan, run
from tests.histories.recorder import Recorder
from tests.histories.scans import Fault, scan
from tests.histories.servers import Servers, running, until
from tests.histories.strikes import strikes
from tests.support.installation import Installation

SHARD = "shard-1"
DELAY_MS = 20
# Longer than it takes to find a bug; it ends there.
OPERATIONS_MAX = 20_000


@pytest.fixture(scope="module")
async def servers(installation: Installation) -> AsyncIterator[Servers]:
    async with running(installation.stacks / "histories", shards=1, replicas=2, workers=0) as started:
        yield started


async def test_while_servers_are_killed_and_frozen_every_promise_is_kept(servers: Servers) -> None:
    kinds = {"kill primary": 1, "freeze replica": 1}
    drawn = strikes("short", kinds, pause_seconds=(0.2, 0.5), down_seconds=(0.3, 0.6), long_share=0)
    report = await run(servers, Plan("short", 400, islice(drawn, len(kinds)), len(kinds), clients=6, rows=3))
    assert report.is_right, str(report)
    assert report.strikes == kinds
    assert {each.server for each in report.history.operations if each.is_ok} >= {SHARD, "read_model", *servers.replicas}
    assert {each.level for each in report.history.operations if each.is_ok} >= set(Level)


async def test_what_a_replica_showed_before_anybody_was_connected_to_a_restarted_primary_is_not_lost(
    servers: Servers,
) -> None:
    async with await Shardwise.connect(settings=servers.settings) as app:
        [row] = await new_rows(app, Recorder(), "RESTARTED", 1)
        servers.kill(SHARD)
        await servers.up()
        session = Session()
        await until(lambda: _shows(app, session, row.sku, Level.EVENTUAL, by=f"{SHARD}-replica-"))
        await until(lambda: _shows(app, Session(), row.sku, Level.STRONG, by=SHARD))
        await until(lambda: _shows(app, session, row.sku, Level.MONOTONIC, by=SHARD))


async def test_what_a_replica_showed_after_a_clean_end_of_its_primary_is_not_lost(servers: Servers) -> None:
    async with await Shardwise.connect(settings=servers.settings) as app:
        [row] = await new_rows(app, Recorder(), "ENDED", 1)
        await servers.caught_up_with(SHARD)
        await servers.end(SHARD)
        session = Session()
        with recording() as served:
            await app.within(session).catalogue.product(row.sku, consistency="eventual")
        assert served[-1].server in servers.replicas
        await servers.up()
        await until(lambda: _shows(app, Session(), row.sku, Level.STRONG, by=SHARD))
        await until(lambda: _shows(app, session, row.sku, Level.MONOTONIC, by=SHARD))


async def _shows(app: Shardwise, session: Session | None, sku: str, level: Level, by: str) -> bool:
    with recording() as served:
        await (app.within(session) if session else app).catalogue.product(sku, consistency=level.value)
    return served[-1].is_fit and served[-1].server.startswith(by)


@pytest.mark.parametrize(
    ("planted", "faults"),
    [
        ("token", {Fault.OWN_WRITE_MISSED, Fault.WENT_BACK}),
        ("strong", {Fault.STALE_STRONG_READ}),
        ("returning", {Fault.OWN_WRITE_MISSED}),
    ],
)
async def test_a_planted_bug_is_found(servers: Servers, planted: str, faults: set[Fault]) -> None:
    def is_found(history: History) -> bool:
        return faults <= {each.fault for each in scan(history)}

    with PLANTED[planted]():
        plan = Plan(planted, OPERATIONS_MAX, rows=2, delay_ms=DELAY_MS, prefix=planted.upper())
        report = await run(servers, plan, is_enough=is_found)
    assert {each.fault for each in report.violations} == faults
    assert len(report.history) < OPERATIONS_MAX


async def test_a_primary_that_is_older_than_its_replica_is_found(servers: Servers) -> None:
    async with primary_behind(servers, SHARD):
        with xids_unchecked():
            broken = await probe(servers, seconds=30, enough=3, prefix="BROKEN")
        right = await probe(servers, seconds=1, prefix="RIGHT")
    assert {each.fault for each in broken.violations} == {Fault.STALE_STRONG_READ}
    assert right.pairs > 0
    assert right.violations == []


async def test_a_write_that_a_promotion_lost_is_never_silently_missing(
    servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test: afterwards the replicas are those of no primary that is up."""
    # Also by whoever is cut off from the new primary, and trusts a replica of it.
    monkeypatch.setattr(vouching, "SETTLED_SECONDS", 0.0)
    recorder = Recorder()
    promotion = Promotion(servers, SHARD)
    async with await Shardwise.connect(settings=servers.settings) as app:
        [row] = await new_rows(app, recorder, "LOST", 1)
        await promotion.cut_off()
        caller = Caller("holds the write")
        assert await Client("client", caller, app, recorder, [row]).write(row)
    token = caller.session.token
    [(_, point)] = caller.session.held.session.wrote
    await promotion.fail_over()

    first, second = promotion.replicas
    replica = f"{SHARD}-replica-1"
    async with (
        await Shardwise.connect(settings=promotion.settings(first, second)) as app,
        await Shardwise.connect(settings=promotion.settings(first)) as without_replica,
        await Shardwise.connect(settings=promotion.settings(SHARD, second)) as without_primary,
    ):
        # None of us was connected to the new primary yet: no row says that its fork has begun.
        await promotion.pass_by(point.lsn, max(point.event, point.xmax))
        await until(lambda: _shows(app, None, row.sku, Level.EVENTUAL, by=replica))
        for each in (app, without_replica, without_primary):
            with pytest.raises(SessionLost):
                await each.within(Session(token)).catalogue.product(row.sku, consistency="read-your-writes")
        # Without the forks the lost write is silently missing: all numbers are above the token's.
        for each in (without_replica, without_primary):
            caller.session = Session(token)
            with forks_ignored():
                assert await Client("client", caller, each, recorder, [row]).read(row, Level.READ_YOUR_WRITES)
    violations = scan(recorder.history())
    assert [each.fault for each in violations] == [Fault.OWN_WRITE_MISSED] * 2
    assert [each.operation.server for each in violations] == [SHARD, replica]
