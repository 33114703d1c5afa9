"""`verify` names every row of the read model that differs from the write model, and nothing that is on its way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import pytest

from domain.errors import Unreachable
from shards.audit.audit import Audit
from shards.audit.findings import Check, Violation
from shards.connections.cluster import Cluster
from shards.outbox.cursors import trim
from shards.projection.projector import Projector
from stack.settings import Databases
from tests.support.projecting import project, read
from tests.support.rebuilding import rebuilt
from tests.support.sentences import all_sentences, sentence_of
from tests.support.workflow_states import WorkflowsInMemory
from tests.support.world import SagaByHand, World, lasting_world

READ_MODEL, SHARD, GOODS = "read model", "shard", "goods"
GID = "shardwise:of-a-test:source"


@dataclass(frozen=True)
class Damage:
    """A confirmed order over 3 of {sku} at 1.00 USD is projected; then `sql` runs `at` the read model, at the
    customer's shard or at the goods'."""

    said: str
    at: str
    sql: str


DAMAGES = (
    Damage(
        "order {order} is missing in the read model",
        READ_MODEL,
        "DELETE FROM live.order_details WHERE id = '{order}'",
    ),
    Damage(
        "the read model has item 1 of order {order}, which it does not know",
        READ_MODEL,
        "DELETE FROM live.order_details WHERE id = '{order}'",
    ),
    Damage(
        "the read model has order ghost-{order}, which shard-1 does not have",
        READ_MODEL,
        "INSERT INTO live.order_details SELECT (jsonb_populate_record(o, jsonb_build_object('id', 'ghost-' || id))).*"
        " FROM live.order_details AS o WHERE id = '{order}'",
    ),
    Damage(
        "order {order} is at version 2, which the cursor has passed, but the read model has version 1",
        READ_MODEL,
        "UPDATE live.order_details SET state = 'pending', version = 1 WHERE id = '{order}'",
    ),
    Damage(
        "the read model has order {order} wrong: customer_name is {customer}, not somebody else",
        READ_MODEL,
        "UPDATE live.order_details SET customer_name = 'somebody else' WHERE id = '{order}'",
    ),
    Damage(
        "the read model has order {order} wrong: version is 2, not 9",
        READ_MODEL,
        "UPDATE live.order_details SET version = 9 WHERE id = '{order}'",
    ),
    Damage(
        "the read model has order item {order}/1 wrong: quantity is 3, not 4",
        READ_MODEL,
        "UPDATE live.order_item SET quantity = 4 WHERE order_id = '{order}'",
    ),
    Damage(
        "the read model has customer {customer} wrong: email is None, not a@b.example",
        READ_MODEL,
        "UPDATE live.customer SET email = 'a@b.example' WHERE id = '{customer}'",
    ),
    Damage(
        "the read model has customer {customer} wrong: city is None, not London",
        READ_MODEL,
        "UPDATE live.customer SET city = 'London' WHERE id = '{customer}'",
    ),
    Damage(
        "the read model has customer {customer} wrong: settings is {{}}, not {{'a': 'b'}}",
        READ_MODEL,
        """UPDATE live.customer SET settings = '{{"a": "b"}}' WHERE id = '{customer}'""",
    ),
    Damage(
        "the read model has account {customer} wrong: held is 0, not 1; posted is 9700, not 9701",
        READ_MODEL,
        "UPDATE live.account_details SET posted = 9701, held = 1 WHERE id = '{customer}'",
    ),
    Damage(
        "the read model has stock {sku} wrong: on_hand is 7, not 8",
        READ_MODEL,
        "UPDATE live.stock_level SET on_hand = 8 WHERE sku = '{sku}'",
    ),
    Damage(
        "the read model has product {sku} wrong: unit_price is 100, not 99",
        READ_MODEL,
        "UPDATE live.product SET unit_price = 99 WHERE sku = '{sku}'",
    ),
    Damage(
        "statement line {customer}/capture/{saga} is missing in the read model",
        READ_MODEL,
        "DELETE FROM live.statement_line WHERE saga_id = '{saga}' AND kind = 'capture'",
    ),
    Damage(
        "the statement of account {customer} ends with 97.00, but its lines sum to 100.00",
        READ_MODEL,
        "DELETE FROM live.statement_line WHERE saga_id = '{saga}' AND kind = 'capture'",
    ),
    Damage(
        "the read model has statement line {customer}/capture/{saga} wrong: amount is -300, not -301",
        READ_MODEL,
        "UPDATE live.statement_line SET amount = -301 WHERE saga_id = '{saga}' AND kind = 'capture'",
    ),
    Damage(
        "the read model has the capture of {saga} on account {customer}, which it does not know",
        READ_MODEL,
        "DELETE FROM live.account_details WHERE id = '{customer}'",
    ),
    Damage(
        "item 1 of order {order} calls {sku} another name, but its name is {sku}",
        READ_MODEL,
        "UPDATE live.order_item SET product_name = 'another name' WHERE order_id = '{order}'",
    ),
    Damage(
        "are recorded as 3 units for 3.01 in 1 orders, but 3 units for 3.00 in 1 orders were confirmed",
        READ_MODEL,
        "UPDATE live.sales SET amount = amount + 1 WHERE sku = '{sku}'",
    ),
    Damage(
        "are recorded as 0 units for 0.00 in 0 orders, but 3 units for 3.00 in 1 orders were confirmed",
        READ_MODEL,
        "DELETE FROM live.sales WHERE sku = '{sku}'",
    ),
    Damage(
        "parcel {order} could not be projected at version 7: no aggregate of this release is called parcel",
        READ_MODEL,
        "INSERT INTO live.parked_aggregate (shard, aggregate, aggregate_id, version, reason)"
        " VALUES ('shard-1', 'parcel', '{order}', 7, 'no aggregate of this release is called parcel')",
    ),
    Damage(
        "account {customer} is at version 3, but of its versions from 1 on only 2 have an event",
        SHARD,
        "DELETE FROM outbox WHERE aggregate = 'account' AND aggregate_id = '{customer}' AND aggregate_version = 2",
    ),
    Damage(
        "stock {sku} is at version 3, but of its versions from 1 on only 2 have an event",
        GOODS,
        "DELETE FROM outbox WHERE aggregate = 'stock' AND aggregate_id = '{sku}' AND aggregate_version = 3",
    ),
    Damage(
        "shard-3 has trimmed events that the read model has not seen",
        READ_MODEL,
        "UPDATE live.projection_cursor SET xid = '1' WHERE shard = 'shard-3'",
    ),
)


async def confirmed(world: World) -> SagaByHand:
    saga = await world.saga(world.order(await world.customer(shard="shard-1"), {await world.product("m"): 3}))
    assert await saga.open() is None
    assert await saga.reserve(0) is None
    assert (await saga.decide()).is_confirmed
    await saga.consume(0)
    await saga.credit()
    return saga


async def audited(world: World) -> Audit:
    audit = Audit(world.cluster, WorkflowsInMemory(), lambda *_: None)
    await audit.run()
    return audit


def found(audit: Audit) -> list[Violation]:
    return audit.findings.by_check[Check.READ_MODEL].violations


def moving(audit: Audit) -> int:
    return sum(each.moving for each in audit.projected.values())


@pytest.fixture
async def world(postgres_server: str, migrated_templates: Mapping[str, str]) -> AsyncIterator[World]:
    async with lasting_world(postgres_server, migrated_templates) as made:
        yield made


@pytest.fixture(scope="module")
async def planted(
    postgres_server: str, migrated_templates: Mapping[str, str]
) -> AsyncIterator[tuple[list[str], list[Violation], SagaByHand]]:
    """The messages expected of all damages, each to an order of its own; the violations found; an undamaged order."""
    async with lasting_world(postgres_server, migrated_templates) as world:
        bystander = await confirmed(world)
        sagas = [await confirmed(world) for _ in DAMAGES]
        await project(world)
        async with world.cluster.primaries["shard-3"].transaction() as connection:
            assert await trim(connection, "9999999", keep_seconds=0) > 0
        expected = []
        for damage, saga in zip(DAMAGES, sagas, strict=True):
            names = {
                "order": saga.order.order_id,
                "saga": saga.saga_id,
                "customer": saga.order.customer_id,
                "sku": saga.order.lines[0].sku,
            }
            sql = damage.sql.format(**names)
            if damage.at == READ_MODEL:
                await read(world, sql)
            else:
                await world.rows("shard-1" if damage.at == SHARD else "shard-2", sql)
            expected.append(damage.said.format(**names))
        yield expected, found(await audited(world)), bystander


async def test_every_damage_is_named_with_its_row_and_blames_nobody_else(
    planted: tuple[list[str], list[Violation], SagaByHand],
) -> None:
    expected, violations, bystander = planted
    said = [violation.what for violation in violations]
    for sentence in expected:
        assert any(sentence in what for what in said), (sentence, said)
    assert all(violation.row and violation.shard for violation in violations)
    mine = (bystander.order.order_id, bystander.order.customer_id, bystander.order.lines[0].sku)
    assert not [what for what in said if set(mine) & set(what.replace("/", " ").split())]


async def test_every_sentence_of_the_source_is_said_about_damage_planted_for_it(
    planted: tuple[list[str], list[Violation], SagaByHand],
) -> None:
    sentences = all_sentences("read model")
    said = [violation.what for violation in planted[1]]
    assert [each.text for each in sentences if each not in {sentence_of(what, sentences) for what in said}] == []
    assert [what for what in said if sentence_of(what, sentences) is None] == []


async def test_a_read_model_that_has_taken_all_events_is_quiet(world: World) -> None:
    for _ in range(3):
        await confirmed(world)
    await project(world)
    audit = await audited(world)
    assert (found(audit), moving(audit)) == ([], 0)
    assert all(each.has_begun for each in audit.projected.values())
    assert audit.findings.by_check[Check.READ_MODEL].checked > 20


async def test_a_read_model_that_was_rebuilt_is_quiet(world: World) -> None:
    for _ in range(3):
        await confirmed(world)
    for shard in world.cluster.primaries.values():
        async with shard.transaction() as connection:
            await trim(connection, "9999999", keep_seconds=0)
    await rebuilt(world)
    audit = await audited(world)
    assert (found(audit), moving(audit)) == ([], 0)


async def test_an_event_that_is_not_projected_yet_is_on_its_way(world: World) -> None:
    assert [each.has_begun for each in (await audited(world)).projected.values()] == [False] * 3
    await project(world)
    await confirmed(world)
    audit = await audited(world)
    assert found(audit) == []
    assert moving(audit) >= 5


async def test_an_event_that_a_transaction_in_doubt_hides_is_on_its_way(world: World) -> None:
    await project(world)
    async with world.cluster.primaries["shard-1"].autocommit() as connection:
        await connection.exec_driver_sql("BEGIN")
        await connection.exec_driver_sql("SELECT pg_current_xact_id()")
        await connection.exec_driver_sql(f"PREPARE TRANSACTION '{GID}'")
    try:
        saga = await confirmed(world)
        for shard in world.cluster.primaries.values():
            await Projector(shard, world.cluster.read_model).take_next()
        audit = await audited(world)
        assert found(audit) == []
        assert moving(audit) >= 1
    finally:
        async with world.cluster.primaries["shard-1"].autocommit() as connection:
            await connection.exec_driver_sql(f"ROLLBACK PREPARED '{GID}'")
    await project(world)
    assert await read(world, "SELECT state FROM live.order_details WHERE id = :id", id=saga.order.order_id)
    audit = await audited(world)
    assert (found(audit), moving(audit)) == ([], 0)


async def test_an_event_projected_between_two_looks_is_no_damage(world: World) -> None:
    await project(world)
    relaying = asyncio.create_task(_relay(world))
    try:
        for _ in range(4):
            orders = asyncio.create_task(_orders(world))
            while not orders.done():
                assert found(await audited(world)) == []
            await orders
    finally:
        relaying.cancel()
        await asyncio.gather(relaying, return_exceptions=True)
    await project(world)
    audit = await audited(world)
    assert (found(audit), moving(audit)) == ([], 0)


async def _relay(world: World) -> None:
    projectors = [Projector(shard, world.cluster.read_model) for shard in world.cluster.primaries.values()]
    while True:
        for projector in projectors:
            await projector.take_next()


async def _orders(world: World) -> None:
    for _ in range(4):
        await confirmed(world)


async def test_a_trimmed_event_is_not_missed(world: World) -> None:
    """Only the later versions of an aggregate have an event then."""
    saga = await confirmed(world)
    await project(world)
    [(second,)] = await world.rows(
        "shard-1",
        "SELECT CAST(xid AS text) FROM outbox WHERE aggregate = 'account' AND aggregate_id = :id"
        " AND aggregate_version = 3",
        id=saga.order.customer_id,
    )
    async with world.cluster.primaries["shard-1"].transaction() as connection:
        assert await trim(connection, second, keep_seconds=0) > 0
    assert found(await audited(world)) == []
    later = (await confirmed(world)).order.customer_id
    await project(world)
    await world.rows(
        "shard-1",
        "UPDATE outbox SET created_at = created_at + interval '2 minutes' WHERE aggregate_id = :id",
        id=later,
    )
    assert found(await audited(world)) == []
    await world.rows(
        "shard-1",
        "DELETE FROM outbox WHERE aggregate = 'account' AND aggregate_id = :id AND aggregate_version = 2",
        id=later,
    )
    [violation] = found(await audited(world))
    assert violation.what.startswith(f"account {later} is at version 3, but of its versions from 1 on only 2")


async def test_without_the_read_model_nothing_is_reported(world: World, cluster_dsns: Databases) -> None:
    dead = "postgresql://nobody:nothing@127.0.0.1:9/nowhere"
    async with Cluster(cluster_dsns.shards, cluster_dsns.catalog, dead, pool_size=2) as cluster:
        with pytest.raises(Unreachable, match="read_model"):
            await Audit(cluster, WorkflowsInMemory(), lambda *_: None).run()


async def test_many_rows_that_differ_are_all_counted(world: World) -> None:
    await project(world)
    await world.rows(
        "shard-1",
        "INSERT INTO customer (id, bucket, name, content_hash)"
        " SELECT 'many-' || n, 1, 'M', '' FROM generate_series(1, 1200) AS n",
    )
    finding = (await audited(world)).findings.by_check[Check.READ_MODEL]
    assert finding.violation_count == 1200
    assert {violation.what.split("-")[0] for violation in finding.violations} == {"customer many"}
