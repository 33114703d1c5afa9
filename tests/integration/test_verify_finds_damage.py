"""`verify` names every kind of damage with its row, and reports nothing about healthy orders at any instant."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import asyncpg
import pytest
from sqlalchemy import text

from activities.interfaces import RefuseOrderId
from domain.catalogue import Customer, Product
from domain.money import Money
from domain.sagas import Reason, Refusal
from shards.audit.audit import Audit
from shards.audit.findings import VIOLATIONS_SHOWN_MAX, Check, Violation
from shards.audit.report import report_of
from shards.audit.workflows import Work
from shards.catalogue.imports import import_customers, import_products
from shards.connections.cluster import Cluster
from stack.settings import Databases
from tests.support.damage import (
    ABORTING,
    CAPTURED,
    CLAIMED,
    CONFIRMED,
    CUSTOMER,
    DAMAGES,
    ELSEWHERE,
    LOOKUP,
    MERCHANT,
    NOT_LOOKUP,
    NOWHERE,
    PENDING,
    REJECTED,
    A,
    Damage,
    Z,
)
from tests.support.postgres import owned, owner_dsn
from tests.support.sentences import all_sentences, sentence_of
from tests.support.workflow_states import WorkflowsInMemory
from tests.support.world import SagaByHand, World

OUT_OF_STOCK = Refusal(Reason.OUT_OF_STOCK, "there is none left")


ORDERS_MAX = 40


class OrderCases:
    """Every order gets a customer and goods of its own, so that no damage hides another."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.workflows = WorkflowsInMemory()
        self._customers: list[str] = []
        self._numbers = iter(range(ORDERS_MAX))

    async def open(self) -> None:
        # In bulk: an import each would cost more than all the rest.
        await self.world.open_shop()
        shard_map = await self.world.router.map()
        names = (f"K{number}" for number in itertools.count())
        here = (name for name in names if shard_map.of_customer(name).shard == "shard-2")
        self._customers = list(itertools.islice(here, ORDERS_MAX))
        balance = Money.parse("100.00", "USD")
        customers = [Customer(name, name, None, balance) for name in self._customers]
        await import_customers(self.world.router, customers)
        skus = [f"{near}-{number:03}" for near in "az" for number in range(ORDERS_MAX)]
        await import_products(self.world.router, [Product(sku, sku, Money.parse("10.00", "USD"), 10) for sku in skus])

    async def order(
        self, state: str, work: Work = Work.CLOSED, status: str | None = None, price: str = "10.00"
    ) -> SagaByHand:
        """An order of a new customer, over 2 of one new product and 1 of another, brought to `state`."""
        world, number = self.world, next(self._numbers)
        customer = self._customers[number]
        goods = {f"a-{number:03}": 2, f"z-{number:03}": 1}
        order = world.order(customer, goods, price=price)
        saga = SagaByHand(world, order, ()) if state == NOWHERE else await world.saga(order)
        await _bring(saga, state)
        if work is not Work.ABSENT:
            self.workflows.put(saga.saga_id, work, status)
        return saga

    async def audit(self, **options: int) -> Audit:
        audit = Audit(self.world.cluster, self.workflows, lambda *_: None, **options)
        await audit.run()
        return audit

    async def damage(self, shard: str, sql: str) -> None:
        """Foreign keys and triggers off, as for somebody with a superuser's `psql`."""
        async with owned(self.world.cluster.primaries[shard]) as owner, owner.transaction() as connection:
            await connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in filter(None, sql.split(";")):
                await connection.exec_driver_sql(statement)


async def _bring(saga: SagaByHand, state: str) -> None:
    if state in (CLAIMED, NOWHERE):
        return
    assert await saga.open() is None
    assert await saga.reserve(0) is None
    if state in (REJECTED, ABORTING):
        await saga.decide(OUT_OF_STOCK)
        if state == REJECTED:
            await saga.undo_all(OUT_OF_STOCK)
        return
    assert await saga.reserve(1) is None
    if state == PENDING:
        return
    assert (await saga.decide()).is_confirmed
    if state == CONFIRMED:
        await saga.consume(0)
        await saga.consume(1)
        if saga.total.minor:
            await saga.credit()


@pytest.fixture
async def cases(cluster: Cluster) -> OrderCases:
    made = OrderCases(World(cluster))
    await made.open()
    return made


def said(audit: Audit, check: Check | None = None) -> list[str]:
    checks = Check if check is None else (check,)
    return [violation.what for each in checks for violation in audit.findings.by_check[each].violations]


@dataclass(frozen=True)
class Audited:
    """One audit, after all damage that one check is about. `expected` are parts of the messages that it must report."""

    audit: Audit
    expected: list[str]
    bystanders: list[SagaByHand]

    def of(self, check: Check) -> list[Violation]:
        return self.audit.findings.by_check[check].violations

    @property
    def rows(self) -> list[Mapping[str, object]]:
        return [violation.row for check in Check for violation in self.of(check)]


@pytest.fixture(scope="module")
async def audited_by_check(fresh_cluster: Callable[[], AbstractAsyncContextManager[Databases]]) -> dict[Check, Audited]:
    return {check: await _audited(fresh_cluster, DAMAGES[check]) for check in DAMAGES}


async def _audited(
    fresh_cluster: Callable[[], AbstractAsyncContextManager[Databases]], damages: Sequence[Damage]
) -> Audited:
    async with fresh_cluster() as at, Cluster(at.shards, at.catalog, at.read_model, pool_size=5) as cluster:
        cases = OrderCases(World(cluster))
        await cases.open()
        bystanders = [await cases.order(CONFIRMED), await cases.order(REJECTED), await cases.order(PENDING, Work.OPEN)]
        planted = [(each, await cases.order(each.state, each.work, each.status)) for each in damages]
        expected = [await _plant(cases, damage, saga) for damage, saga in planted]
        audit = await cases.audit(forgotten_after_seconds=0)
        for dsn in at.shards.values():
            await _roll_back_prepared(dsn)
    return Audited(audit, expected, bystanders)


@pytest.mark.parametrize("check", DAMAGES, ids=str)
async def test_every_damage_is_named_with_its_row_and_blames_nobody_else(
    audited_by_check: dict[Check, Audited], check: Check
) -> None:
    audited = audited_by_check[check]
    found = audited.of(check)
    for sentence in audited.expected:
        assert any(sentence in violation.what for violation in found), (sentence, said(audited.audit, check))
    assert all(violation.row for violation in found)
    assert not audited.audit.findings.ok
    for bystander in audited.bystanders:
        mine = {bystander.saga_id, bystander.order.order_id, bystander.order.customer_id}
        assert not [row for row in audited.rows if mine & {str(value) for value in row.values()}]


async def test_every_sentence_of_the_source_is_said_about_damage_planted_for_it(
    audited_by_check: dict[Check, Audited],
) -> None:
    sentences = all_sentences("orders")
    proved = {
        sentence_of(violation.what, sentences)
        for check, audited in audited_by_check.items()
        for violation in audited.of(check)
        if any(expected in violation.what for expected in audited.expected)
    }
    assert [each.text for each in sentences if each not in proved] == []


async def test_no_sentence_of_the_source_is_overlooked(audited_by_check: dict[Check, Audited]) -> None:
    sentences = all_sentences("orders")
    spoken = {what for audited in audited_by_check.values() for what in said(audited.audit)}
    assert [what for what in sorted(spoken) if sentence_of(what, sentences) is None] == []


async def _plant(cases: OrderCases, damage: Damage, saga: SagaByHand) -> str:
    a, z = sorted(line.sku for line in saga.order.lines)
    names = {
        "saga": saga.saga_id,
        "order": saga.order.order_id,
        "customer": saga.order.customer_id,
        "merchant": saga.merchant,
        "a": a,
        "z": z,
    }
    shard_map = await cases.world.router.map()
    merchant_shard = shard_map.of_account(saga.merchant).shard
    lookup_shard = shard_map.of_order_id(saga.order.order_id).shard
    shards = {
        CUSTOMER: "shard-2",
        LOOKUP: lookup_shard,
        NOT_LOOKUP: next(name for name in cases.world.cluster.primaries if name != lookup_shard),
        MERCHANT: merchant_shard,
        A: shard_map.of_sku(a).shard,
        Z: shard_map.of_sku(z).shard,
        ELSEWHERE: next(name for name in cases.world.cluster.primaries if name not in ("shard-2", merchant_shard)),
    }
    await cases.damage(shards[damage.at], damage.sql.format(**names))
    return damage.said.format(**names)


async def test_an_empty_installation_is_ok(cases: OrderCases) -> None:
    audit = await cases.audit()

    assert said(audit) == []
    assert audit.findings.ok
    assert report_of(audit).document()["in_flight"] == {
        "orders": 0,
        "transfers": 0,
        "money": {},
        "prepared_transactions": 0,
    }


async def test_every_state_of_a_healthy_order_is_quiet(cases: OrderCases) -> None:
    for state in (CLAIMED, PENDING, CAPTURED, CAPTURED, ABORTING, NOWHERE):
        await cases.order(state, Work.OPEN)
    for work in Work:
        await cases.order(CONFIRMED, work)
        await cases.order(REJECTED, work)
        await cases.order(CONFIRMED, work, price="0.00")

    audit = await cases.audit()

    assert said(audit) == []
    document = report_of(audit).document()
    assert document["ok"] is True
    assert document["in_flight"]["money"] == {"USD": {"count": 2, "amount": "60.00"}}
    assert document["in_flight"]["orders"] == 6
    assert document["expired"] == 3


async def test_an_order_refused_before_it_had_a_row_is_quiet(cases: OrderCases) -> None:
    order = cases.world.order("nobody", {await cases.world.product(): 1})
    saga = await cases.world.saga(order)
    refusal = await saga.open()
    assert refusal is not None
    cases.workflows.put(saga.saga_id, Work.OPEN)
    assert said(await cases.audit()) == []

    await saga.decide(refusal)
    assert said(await cases.audit()) == []
    await saga.undo_all(refusal)
    await cases.world.orders.refuse_order_id(RefuseOrderId(order, refusal))
    cases.workflows.put(saga.saga_id, Work.CLOSED)

    audit = await cases.audit()
    assert said(audit) == []
    assert audit.in_flight.sagas == set()


async def test_an_order_whose_workflow_was_lost_twice_is_reported_once(cases: OrderCases) -> None:
    saga = await cases.order(NOWHERE)
    cases.workflows.put(saga.saga_id, Work.CLOSED, runs=2)

    assert len(said(await cases.audit())) == 1


async def test_an_order_refused_for_lack_of_money_is_quiet(cases: OrderCases) -> None:
    saga = await cases.world.saga(
        cases.world.order(await cases.world.customer("1.00"), {await cases.world.product(): 2})
    )
    refusal = await saga.open()
    assert refusal is not None
    cases.workflows.put(saga.saga_id, Work.OPEN)
    assert said(await cases.audit()) == []

    await saga.decide(refusal)
    await saga.undo_all(refusal)
    cases.workflows.put(saga.saga_id, Work.CLOSED)

    assert said(await cases.audit()) == []


async def test_an_order_that_finishes_between_two_looks_is_no_damage(cases: OrderCases) -> None:
    saga = await cases.order(CAPTURED, Work.OPEN)
    looks = 0

    async def finish(saga_id: str) -> None:
        nonlocal looks
        looks += 1
        if looks == 2:
            await saga.consume(0)
            await saga.consume(1)
            await saga.credit()
            cases.workflows.put(saga_id, Work.CLOSED)

    cases.workflows.before_state_of = finish
    audit = await cases.audit()

    assert looks > 2
    assert said(audit) == []
    assert audit.in_flight.sagas == set()


async def test_a_prepared_transaction_that_is_still_being_decided_is_in_flight(
    cases: OrderCases, cluster_dsns: Databases
) -> None:
    await cases.damage(
        "shard-1",
        "INSERT INTO stock_receipt (id, sku, quantity) VALUES ('r', 'a', 1);"
        "PREPARE TRANSACTION 'shardwise:transfer-1:source'",
    )
    try:
        audit = await cases.audit(forgotten_after_seconds=60)
    finally:
        await _roll_back_prepared(cluster_dsns.shards["shard-1"])

    assert said(audit) == []
    assert audit.in_flight.prepared_transactions == 1


async def _roll_back_prepared(dsn: str) -> None:
    """Outside of any transaction, as Postgres wants it."""
    connection = await asyncpg.connect(owner_dsn(dsn))
    try:
        for row in await connection.fetch("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"):
            await connection.execute(f"ROLLBACK PREPARED '{row['gid']}'")
    finally:
        await connection.close()


async def test_many_violations_are_counted_and_the_first_are_shown(cases: OrderCases) -> None:
    await cases.damage(
        "shard-1",
        "INSERT INTO reservation (saga_id, sku, quantity, state) SELECT 'ghost/' || n, 'a', 1, 'released'"
        " FROM generate_series(1, 1500) AS n",
    )

    audit = await cases.audit()

    stock = next(check for check in report_of(audit).document()["checks"] if check["name"] == "stock")
    assert stock["violation_count"] == 1500
    assert len(stock["violations"]) == VIOLATIONS_SHOWN_MAX
    assert stock["violations"][0]["shard"] == "shard-1"
    assert stock["violations"][0]["row"]["sku"] == "a"
