"""Abandoned transactions in doubt: found on all shards, and ended by the decision, else by the participants' rows."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator

import pytest

from domain.errors import Unreachable
from domain.in_doubt import InDoubtReport
from domain.sagas import Reason, Refusal
from domain.two_phase import Coordinator, ParticipantOutcome
from shards.connections.cluster import Cluster
from shards.routing.router import Router
from shards.transfers.in_doubt import Sweep
from stack.settings import Databases
from tests.support.two_phase import BOTH, SOURCE, TARGET, TransferByHand, new_transfer, nothing_left_prepared
from tests.support.world import World

_numbers = itertools.count(1)

_CANCELLED = Refusal(Reason.CANCELLED, "changed their mind")

# Nobody listens there.
DEAD = "postgresql://nobody:nothing@127.0.0.1:9/nowhere"


@pytest.fixture
async def world(cluster_dsns: Databases) -> AsyncIterator[World]:
    """Shards of one's own: a sweep ends what it finds, whosever it is."""
    async with Cluster(cluster_dsns.shards, cluster_dsns.catalog, cluster_dsns.read_model, pool_size=4) as cluster:
        made = World(cluster)
        async with nothing_left_prepared(cluster):
            yield made
        assert await made.violations() == []


async def _sweep(
    world: World,
    known: Coordinator = Coordinator.GONE,
    older_than_seconds: float = 0,
    dry_run: bool = False,
    router: Router | None = None,
) -> InDoubtReport:
    async def ask(_: str) -> Coordinator:
        return known

    return await Sweep(router or world.router, ask, older_than_seconds, dry_run).run()


def _outcomes(report: InDoubtReport, transfer: TransferByHand) -> dict[str, ParticipantOutcome]:
    """By gid, and asserts that all of them are this transfer's."""
    assert {each.saga_id for each in report.resolved} <= {transfer.transfer.saga_id}
    return {each.gid: each.outcome for each in report.resolved}


def _lost(databases: Databases, *names: str) -> Cluster:
    """The same shards, of which these do not answer."""
    shards = {name: DEAD if name in names else dsn for name, dsn in databases.shards.items()}
    return Cluster(shards, databases.catalog, databases.read_model, pool_size=2)


@pytest.mark.parametrize("prepared", [[SOURCE], [TARGET], [SOURCE, TARGET]], ids=str)
async def test_a_transfer_that_nobody_ever_decided_is_aborted(world: World, prepared: list[str]) -> None:
    transfer = await new_transfer(world)
    for participant in BOTH:
        if participant in prepared:
            await transfer.prepare(participant)
    report = await _sweep(world)
    assert (report.waiting, report.unreachable) == ([], [])
    assert _outcomes(report, transfer) == {
        transfer.gid(each): ParticipantOutcome.ABORTED for each in BOTH if each in prepared
    }
    assert (await transfer.prepared(), await transfer.states()) == ([], ("declined", "withdrawn"))
    assert await transfer.money() == (100_00, 0)
    reason = await world.rows("shard-1", "SELECT reason FROM transfer")
    assert reason == [("coordinator_lost",)]
    # None of its steps can come late.
    assert not any([(await transfer.prepare(each)).is_yes for each in BOTH])
    assert await _sweep(world) == InDoubtReport([], [], [])


async def test_a_decided_transfer_is_committed_though_nobody_had_begun_to(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    report = await _sweep(world, Coordinator.COMMITTING)
    assert _outcomes(report, transfer) == {transfer.gid(each): ParticipantOutcome.COMMITTED for each in BOTH}
    assert (await transfer.states(), await transfer.money()) == (("confirmed", "credited"), (70_00, 30_00))


async def test_a_decision_to_abort_is_carried_out(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    assert set(_outcomes(await _sweep(world, Coordinator.ABORTING), transfer).values()) == {ParticipantOutcome.ABORTED}
    assert await transfer.money() == (100_00, 0)


@pytest.mark.parametrize("known", [Coordinator.GONE, Coordinator.ABORTING, Coordinator.COMMITTING])
async def test_if_the_source_has_committed_the_rest_is_committed(world: World, known: Coordinator) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    await transfer.by_hand(SOURCE, "COMMIT")
    report = await _sweep(world, known)
    assert _outcomes(report, transfer) == {transfer.gid(TARGET): ParticipantOutcome.COMMITTED}
    assert (await transfer.states(), await transfer.money()) == (("confirmed", "credited"), (70_00, 30_00))


@pytest.mark.parametrize("known", [Coordinator.GONE, Coordinator.COMMITTING])
async def test_if_the_source_was_declined_the_rest_is_rolled_back(world: World, known: Coordinator) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare(TARGET)
    await transfer.abort(SOURCE, _CANCELLED)
    report = await _sweep(world, known)
    assert _outcomes(report, transfer) == {transfer.gid(TARGET): ParticipantOutcome.ABORTED}
    assert (await transfer.states(), await transfer.money()) == (("declined", "withdrawn"), (100_00, 0))


async def test_a_transfer_that_a_workflow_works_on_is_left_alone(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    report = await _sweep(world, Coordinator.AT_WORK)
    assert report.resolved == []
    assert [each.gid for each in report.waiting] == [transfer.gid(each) for each in BOTH]
    assert all("at work" in each.why for each in report.waiting)
    assert await transfer.prepared() == [SOURCE, TARGET]


async def test_a_young_transaction_is_left_to_its_coordinator(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    assert await _sweep(world, older_than_seconds=600) == InDoubtReport([], [], [])
    assert await transfer.prepared() == [SOURCE, TARGET]


@pytest.mark.parametrize(("prepared", "lost"), [(SOURCE, "shard-2"), (TARGET, "shard-1")])
async def test_a_transfer_that_an_unreachable_shard_may_have_committed_waits(
    world: World, cluster_dsns: Databases, prepared: str, lost: str
) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    async with _lost(cluster_dsns, lost) as cluster:
        report = await _sweep(world, router=Router(cluster))
    assert (report.resolved, report.unreachable) == ([], [lost])
    assert [each.gid for each in report.waiting] == [gid for gid in map(transfer.gid, BOTH) if gid.endswith(prepared)]
    assert await transfer.prepared() == [SOURCE, TARGET]

    assert set(_outcomes(await _sweep(world), transfer).values()) == {ParticipantOutcome.ABORTED}
    assert await transfer.prepared() == []


async def test_the_source_is_committed_though_the_target_does_not_answer(world: World, cluster_dsns: Databases) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    async with _lost(cluster_dsns, "shard-2") as cluster:
        report = await _sweep(world, Coordinator.COMMITTING, router=Router(cluster))
    assert [each.gid for each in report.waiting] == [transfer.gid(SOURCE)]
    assert await transfer.states() == ("confirmed", None)
    # Its workflow's history forgotten meanwhile: the source's row knows.
    assert _outcomes(await _sweep(world), transfer) == {transfer.gid(TARGET): ParticipantOutcome.COMMITTED}
    assert await transfer.money() == (70_00, 30_00)


async def test_a_transaction_that_no_shard_can_explain_is_rolled_back_once_all_of_them_were_asked(
    world: World, cluster_dsns: Databases
) -> None:
    gid = f"shardwise:transfer/nobody/{next(_numbers)}:target"
    await _prepare_by_hand(world, gid)
    async with _lost(cluster_dsns, "shard-3") as cluster:
        report = await _sweep(world, router=Router(cluster))
    assert (report.resolved, [each.gid for each in report.waiting]) == ([], [gid])
    report = await _sweep(world)
    assert [(each.gid, each.saga_id, each.outcome) for each in report.resolved] == [
        (gid, None, ParticipantOutcome.UNKNOWN)
    ]
    assert await _sweep(world) == InDoubtReport([], [], [])


async def test_a_name_that_this_release_does_not_give_is_reported_and_left(world: World) -> None:
    await _prepare_by_hand(world, "shardwise:of-a-newer-release")
    report = await _sweep(world)
    assert report.resolved == []
    assert [each.gid for each in report.waiting] == ["shardwise:of-a-newer-release"]


async def _prepare_by_hand(world: World, gid: str) -> None:
    async with world.cluster.primaries["shard-2"].autocommit() as connection:
        await connection.exec_driver_sql("BEGIN")
        await connection.exec_driver_sql("SELECT pg_current_xact_id()")
        await connection.exec_driver_sql(f"PREPARE TRANSACTION '{gid}'")


async def test_a_dry_run_reports_the_same_and_does_nothing(world: World) -> None:
    transfer = await new_transfer(world)
    await transfer.prepare_both()
    await _prepare_by_hand(world, "shardwise:transfer/a/b:source")
    dry = await _sweep(world, Coordinator.COMMITTING, dry_run=True)
    assert await transfer.prepared() == [SOURCE, TARGET]
    assert dry == await _sweep(world, Coordinator.COMMITTING)
    assert len(dry.resolved) == 3


async def test_a_transaction_that_cannot_be_ended_keeps_no_other_from_its_end(world: World) -> None:
    stuck, other = await new_transfer(world), await new_transfer(world)
    for transfer in (stuck, other):
        await transfer.prepare_both()

    async def ask(saga_id: str) -> Coordinator:
        if saga_id == stuck.transfer.saga_id:
            raise Unreachable("temporal_unreachable", "Temporal does not answer: now")
        return Coordinator.GONE

    report = await Sweep(world.router, ask, 0).run()
    assert {each.why for each in report.waiting} == {"Temporal does not answer: now"}
    assert _outcomes(report, other) == {other.gid(each): ParticipantOutcome.ABORTED for each in BOTH}
    assert await stuck.prepared() == [SOURCE, TARGET]
