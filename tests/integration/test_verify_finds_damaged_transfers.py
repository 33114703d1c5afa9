"""`verify` names every kind of damage to a transfer with its row, and reports nothing about healthy ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest
from sqlalchemy import text

from domain.catalogue import Customer
from domain.money import Money
from domain.sagas import Reason, Refusal
from shards.audit.audit import Audit
from shards.audit.findings import Violation
from shards.audit.report import report_of
from shards.audit.workflows import Work
from shards.catalogue.imports import import_customers
from shards.connections.cluster import Cluster
from stack.settings import Databases
from tests.support.sentences import all_sentences, sentence_of
from tests.support.transfer_damage import (
    ADMITTED,
    CAPTURED,
    DECLINED,
    ELSEWHERE,
    LOCAL,
    NOWHERE,
    PENDING,
    SETTLED,
    SOURCE,
    TARGET,
    TRANSFER_DAMAGES,
    WITHDRAWN,
    TransferDamage,
)
from tests.support.workflow_states import WorkflowsInMemory
from tests.support.world import TransferByHand, World

CANCELLED = Refusal(Reason.CANCELLED, "nobody wants it any more")
SHARD_OF = {SOURCE: "shard-1", TARGET: "shard-2", ELSEWHERE: "shard-3"}
TRANSFERS_MAX = 40


class TransferCases:
    """Every transfer has two accounts of its own: its source on shard-1, its target on shard-2 or beside it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.workflows = WorkflowsInMemory()

    async def open(self) -> None:
        shard_map = await self.world.router.map()
        names = [f"A{number}" for number in range(1000)]
        here = [[n for n in names if shard_map.of_account(n).shard == shard] for shard in ("shard-1", "shard-2")]
        self._sources, self._targets = here[0][:TRANSFERS_MAX], iter(here[1])
        self._local_targets = iter(here[0][TRANSFERS_MAX : 2 * TRANSFERS_MAX])
        self._number = itertools.count()
        balance = Money.parse("100.00", "USD")
        people = [*here[0][: 2 * TRANSFERS_MAX], *here[1]]
        await import_customers(self.world.router, [Customer(name, name, None, balance) for name in people])

    async def transfer(self, state: str, work: Work = Work.CLOSED, status: str | None = None) -> TransferByHand:
        source = self._sources[next(self._number)]
        target = next(self._local_targets if state == LOCAL else self._targets)
        made = await self.world.transfer(source, target)
        await _bring(made, state)
        if work is not Work.ABSENT:
            self.workflows.put(made.saga_id, work, status)
        return made

    async def audit(self) -> Audit:
        audit = Audit(self.world.cluster, self.workflows, lambda *_: None)
        await audit.run()
        return audit

    async def damage(self, shard: str, sql: str) -> None:
        async with self.world.cluster.primaries[shard].transaction() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            if sql:
                await connection.exec_driver_sql(sql)


async def _bring(made: TransferByHand, state: str) -> None:
    if state == NOWHERE:
        return
    await made.open()
    if state in (PENDING, LOCAL):
        return
    assert await made.admit() is None
    if state == ADMITTED:
        return
    await made.decide(CANCELLED if state in (DECLINED, WITHDRAWN) else None)
    if state == SETTLED:
        await made.credit()
    if state == WITHDRAWN:
        await made.withdraw()


@dataclass(frozen=True)
class Audited:
    violations: list[Violation]
    expected: list[str]
    bystanders: list[TransferByHand]


@pytest.fixture(scope="module")
async def audited(fresh_cluster: Callable[[], AbstractAsyncContextManager[Databases]]) -> Audited:
    async with fresh_cluster() as at, Cluster(at.shards, at.catalog, at.read_model, pool_size=5) as cluster:
        cases = TransferCases(World(cluster))
        await cases.open()
        bystanders = [await cases.transfer(state) for state in (SETTLED, WITHDRAWN, LOCAL)]
        bystanders += [await cases.transfer(state, Work.OPEN) for state in (PENDING, ADMITTED, CAPTURED, DECLINED)]
        planted = [(damage, await cases.transfer(damage.state, damage.work)) for damage in TRANSFER_DAMAGES]
        expected = [await _plant(cases, damage, made) for damage, made in planted]
        audit = await cases.audit()
    violations = [violation for finding in audit.findings.by_check.values() for violation in finding.violations]
    return Audited(violations, expected, bystanders)


async def _plant(cases: TransferCases, damage: TransferDamage, made: TransferByHand) -> str:
    transfer = made.transfer
    names = {"saga": made.saga_id, "source": transfer.source, "target": transfer.target, "id": transfer.transfer_id}
    at = SOURCE if damage.state == LOCAL else damage.at
    await cases.damage(SHARD_OF[at], damage.sql.format(**names))
    return damage.said.format(**names)


async def test_every_damage_is_named_with_its_row_and_blames_nobody_else(audited: Audited) -> None:
    said = [violation.what for violation in audited.violations]
    for sentence in audited.expected:
        assert any(sentence in what for what in said), (sentence, said)
    assert all(violation.row for violation in audited.violations)
    for bystander in audited.bystanders:
        mine = {bystander.saga_id, bystander.transfer.source, bystander.transfer.target}
        assert not [each for each in audited.violations if mine & {str(value) for value in each.row.values()}]


async def test_every_sentence_of_the_source_is_said_about_damage_planted_for_it(audited: Audited) -> None:
    sentences = all_sentences("transfers")
    proved = {
        sentence_of(violation.what, sentences)
        for violation in audited.violations
        if any(expected in violation.what for expected in audited.expected)
    }
    assert [each.text for each in sentences if each not in proved] == []


async def test_every_state_of_a_healthy_transfer_is_quiet_and_what_is_on_its_way_is_counted(cluster: Cluster) -> None:
    cases = TransferCases(World(cluster))
    await cases.open()
    for state in (SETTLED, WITHDRAWN, LOCAL):
        await cases.transfer(state)
        await cases.transfer(state, Work.ABSENT)
    for state in (PENDING, ADMITTED, CAPTURED, DECLINED, NOWHERE):
        await cases.transfer(state, Work.OPEN)
    document = report_of(await cases.audit()).document()
    assert document["ok"], document
    assert document["in_flight"]["transfers"] == 5
    assert document["in_flight"]["orders"] == 0
    assert document["in_flight"]["money"] == {"USD": {"count": 1, "amount": "10.00"}}
    assert document["expired"] == 3


async def test_a_workflow_that_says_settled_beside_a_row_that_does_not_is_reported(cluster: Cluster) -> None:
    cases = TransferCases(World(cluster))
    await cases.open()
    made = await cases.transfer(WITHDRAWN, Work.CLOSED, status="settled")
    audit = await cases.audit()
    said = [violation.what for finding in audit.findings.by_check.values() for violation in finding.violations]
    source, transfer_id = made.transfer.source, made.transfer.transfer_id
    assert said == [f"the workflow of transfer {source}/{transfer_id} ended as settled, but its row is declined"]


async def test_a_transfer_found_by_its_workflow_and_its_rows_is_counted_once(cluster: Cluster) -> None:
    cases = TransferCases(World(cluster))
    await cases.open()
    made = await cases.transfer(SETTLED, Work.CLOSED)
    of_it = f"saga_id = '{made.saga_id}'"
    # As after a restore of its source's shard.
    for statement in (
        f"DELETE FROM transfer WHERE id = '{made.transfer.transfer_id}'",
        f"DELETE FROM clearing_leg WHERE {of_it}",
        f"DELETE FROM hold WHERE {of_it}",
    ):
        await cases.damage("shard-1", statement)
    audit = await cases.audit()
    said = [violation.what for finding in audit.findings.by_check.values() for violation in finding.violations]
    assert len([what for what in said if "but no shard sent it" in what]) == 1, said
    assert len(said) == len(set(said))
