"""What the shards decide reaches the read model: once, whole, in whatever order its events come."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.sagas import Reason, Refusal
from shards.connections.database_errors import DatabaseFailure
from shards.projection import copying, reading
from shards.projection.projector import Projector
from shards.projection.reading import DOCUMENTS, Aggregate, read_documents
from shards.projection.writing import write_documents
from shards.tables.versions import Version
from tests.support.projecting import project, read
from tests.support.read_model import run
from tests.support.world import SagaByHand, World, lasting_world

TABLES = (
    "customer",
    "product",
    "stock_level",
    "account_details",
    "statement_line",
    "order_details",
    "order_item",
    "sales",
)
_APPEND = text("""
    INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
    VALUES ('a shard', 'a saga', :aggregate, :key, :version, 'OfATest', '{}')
""")
OUT_OF_STOCK = Refusal(Reason.OUT_OF_STOCK, "nothing left")


class Died(BaseException):
    """Stands for a process that is killed: nothing after it runs, and its transactions are rolled back."""


async def confirmed_order(world: World, near: str = "a", shard: str | None = None) -> SagaByHand:
    customer, sku = await world.customer(shard=shard), await world.product(near)
    saga = await world.saga(world.order(customer, {sku: 3}))
    assert await saga.open() is None
    assert await saga.reserve(0) is None
    assert (await saga.decide()).is_confirmed
    await saga.consume(0)
    await saga.credit()
    return saga


async def details(world: World, order_id: str) -> tuple[object, ...] | None:
    found = await read(
        world,
        "SELECT state, customer_name, total, version, reason FROM live.order_details WHERE id = :id",
        id=order_id,
    )
    return found[0] if found else None


async def test_a_confirmed_order_is_shown_with_names_prices_sales_and_statement(world: World) -> None:
    saga = await confirmed_order(world)
    await project(world)
    order = saga.order
    assert await details(world, order.order_id) == ("confirmed", order.customer_id, 300, 2, None)
    [sku] = [line.sku for line in order.lines]
    items = "SELECT n, sku, product_name, quantity, unit_price FROM live.order_item WHERE order_id = :id"
    assert await read(world, items, id=order.order_id) == [(1, sku, sku, 3, 100)]
    sales = "SELECT orders, units, amount, currency FROM live.sales WHERE sku = :sku"
    assert await read(world, sales, sku=sku) == [(1, 3, 300, "USD")]
    lines = "SELECT kind, amount, other_side FROM live.statement_line WHERE account_id = :id ORDER BY position"
    assert [row[:2] for row in await read(world, lines, id=order.customer_id)] == [
        ("opening", 10000),
        ("capture", -300),
    ]
    account = "SELECT posted, held, stated FROM live.account_details WHERE id = :id"
    assert await read(world, account, id=order.customer_id) == [(9700, 0, 9700)]
    stock = "SELECT on_hand, reserved FROM live.stock_level WHERE sku = :sku"
    assert await read(world, stock, sku=sku) == [(7, 0)]


async def test_a_rejected_order_is_shown_with_its_reason_and_sells_nothing(world: World) -> None:
    customer, sku = await world.customer(), await world.product("m")
    saga = await world.saga(world.order(customer, {sku: 1}))
    await saga.open()
    await project(world)
    assert await details(world, saga.order.order_id) == ("pending", customer, 100, 1, None)
    await saga.decide(OUT_OF_STOCK)
    await saga.undo_all(OUT_OF_STOCK)
    await project(world)
    assert await details(world, saga.order.order_id) == ("rejected", customer, 100, 3, "out_of_stock")
    assert await read(world, "SELECT * FROM live.sales WHERE sku = :sku", sku=sku) == []


async def test_events_that_are_read_again_change_nothing(world: World) -> None:
    await confirmed_order(world)
    await project(world)
    before = await everything(world)
    await read(world, "UPDATE live.projection_cursor SET xid = '0'")
    assert await project(world) > 0
    assert await everything(world) == before


async def test_a_transaction_that_commits_last_though_its_ids_came_first_is_not_skipped(world: World) -> None:
    """Fails without the horizon: a reader by ids would have passed this order's before its transaction ended."""
    customer, sku = await world.customer(shard="shard-1"), await world.product()
    late, early = [await world.saga(world.order(customer, {sku: 1})) for _ in range(2)]
    route = await world.customer_route(customer)
    shard = world.cluster.primaries["shard-1"]
    projector = Projector(shard, world.cluster.read_model)
    await project(world)
    async with shard.transaction() as connection:
        await connection.execute(text("SELECT pg_current_xact_id()"))
        await connection.execute(text("SELECT nextval(pg_get_serial_sequence('outbox', 'id'))"))
        await early.open()
        stepped = await projector.take_next()
        assert (stepped.events, stepped.more) == (0, True)
        assert await details(world, early.order.order_id) is None
        await connection.execute(
            text("""
                INSERT INTO outbox (origin_shard, saga_id, aggregate, aggregate_id, aggregate_version, kind, payload)
                VALUES (:shard, 'late', 'customer', :customer, 1, 'CustomerRegistered', '{}')
            """),
            {"shard": route.shard, "customer": customer},
        )
        await connection.execute(text("UPDATE customer SET name = 'Late' WHERE id = :id"), {"id": customer})
        await connection.execute(text("UPDATE customer SET version = 2 WHERE id = :id"), {"id": customer})
    await project(world)
    assert await details(world, early.order.order_id) == ("pending", "Late", 100, 1, None)
    assert await read(world, "SELECT name FROM live.customer WHERE id = :id", id=customer) == [("Late",)]
    await late.open()


async def test_events_are_read_again_if_the_reader_dies_between_read_and_write(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await project(world)
    before = await everything(world)
    saga = await confirmed_order(world, shard="shard-1")
    projector = Projector(world.cluster.primaries["shard-1"], world.cluster.read_model)

    async def die(*_: object) -> None:
        raise Died

    for nth in ("write_documents", "write_lines"):
        with monkeypatch.context() as patched:
            patched.setattr(f"shards.projection.copying.{nth}", die)
            with pytest.raises(Died):
                await projector.project(Version.LIVE)
        assert await everything(world) == before
    await project(world)
    assert await details(world, saga.order.order_id) == ("confirmed", saga.order.customer_id, 300, 2, None)


async def test_two_relays_at_once_take_turns(world: World) -> None:
    sagas = [await confirmed_order(world, shard="shard-1") for _ in range(3)]
    shard = world.cluster.primaries["shard-1"]
    both = [Projector(shard, world.cluster.read_model) for _ in range(2)]
    steps = await asyncio.gather(*(each.project(Version.LIVE) for each in both))
    assert 0 in [each.events for each in steps]
    await project(world)
    for saga in sagas:
        [sku] = [line.sku for line in saga.order.lines]
        assert await read(world, "SELECT orders, units FROM live.sales WHERE sku = :sku", sku=sku) == [(1, 3)]


async def test_an_older_document_does_not_undo_a_newer_one(world: World) -> None:
    saga = await confirmed_order(world)
    shard = (await world.customer_route(saga.order.customer_id)).shard
    await project(world)
    before = await everything(world)
    async with world.cluster.primaries[shard].snapshot() as snapshot:
        found = {
            aggregate: await read_documents(snapshot, aggregate, {key: 1}, None)
            for aggregate, key in (
                (Aggregate.ORDER, saga.order.order_id),
                (Aggregate.ACCOUNT, saga.order.customer_id),
            )
        }
    for aggregate, documents in found.items():
        assert documents.rows is not None
        older = [{**each, "version": 1, "state": "pending", "held": 300} for each in json.loads(documents.rows)]
        async with world.cluster.read_model.transaction() as connection:
            await write_documents(connection, Version.LIVE, shard, aggregate, json.dumps(older))
    assert await everything(world) == before


async def test_versions_in_reverse_leave_the_newest(world: World) -> None:
    """The second version's transaction took its id first, and waited for the first one's lock."""
    customer = await world.customer(shard="shard-2")
    shard = world.cluster.primaries["shard-2"]
    rename = text("UPDATE customer SET name = :name, version = version + 1 WHERE id = :id RETURNING version")
    async with shard.transaction() as late:
        await late.execute(text("SELECT pg_current_xact_id()"))
        async with shard.transaction() as early:
            version = (await early.execute(rename, {"name": "Second", "id": customer})).scalar_one()
            await append(early, "customer", customer, version)
        version = (await late.execute(rename, {"name": "Third", "id": customer})).scalar_one()
        await append(late, "customer", customer, version)
    order = "SELECT aggregate_version FROM outbox WHERE aggregate_id = :id AND aggregate = 'customer' ORDER BY xid, id"
    assert await world.rows("shard-2", order, id=customer) == [(1,), (3,), (2,)]
    await project(world)
    found = await read(world, "SELECT name, version FROM live.customer WHERE id = :id", id=customer)
    assert found == [("Third", 3)]


async def test_a_rename_reaches_the_rows_that_carry_the_name(world: World) -> None:
    saga = await confirmed_order(world)
    [sku] = [line.sku for line in saga.order.lines]
    await project(world)
    for shard in world.cluster.primaries:
        await world.rows(shard, "UPDATE customer SET name = 'New' WHERE id = :id", id=saga.order.customer_id)
        for aggregate, table, column, key in (
            ("customer", "customer", "id", saga.order.customer_id),
            ("product", "product", "sku", sku),
        ):
            async with world.cluster.primaries[shard].transaction() as connection:
                renamed = await connection.execute(
                    text(f"UPDATE {table} SET name = 'New', version = version + 1 WHERE {column} = :key RETURNING 1"),
                    {"key": key},
                )
                if renamed.first() is not None:
                    await append(connection, aggregate, key, 2)
    await project(world)
    names = """
        SELECT customer_name, product_name FROM live.order_details JOIN live.order_item ON order_id = id WHERE id = :id
    """
    assert await read(world, names, id=saga.order.order_id) == [("New", "New")]


@pytest.mark.parametrize(
    ("aggregate", "reason"),
    [
        ("order", "an event is of version 7, but there is no such row"),
        ("parcel", "no aggregate of this release is called parcel"),
    ],
)
async def test_a_poison_event_is_parked_with_its_reason_and_the_rest_goes_on(
    world: World, aggregate: str, reason: str
) -> None:
    key = await world.new_name()
    async with world.cluster.primaries["shard-1"].transaction() as connection:
        await append(connection, aggregate, key, 7)
    saga = await confirmed_order(world, shard="shard-1")
    await project(world)
    assert await parked(world, key) == [(aggregate, 7, reason)]
    assert await details(world, saga.order.order_id) is not None


@pytest.mark.parametrize("aggregate", ["order", "parcel", "a name that no index holds"])
async def test_a_key_that_no_index_holds_is_parked_under_another(world: World, aggregate: str) -> None:
    """Random, since an index would hold what Postgres can compress."""
    long = secrets.token_hex(10_000)
    aggregate = long if aggregate.startswith("a name") else aggregate
    async with world.cluster.primaries["shard-1"].transaction() as connection:
        await append(connection, aggregate, long, 7)
    saga = await confirmed_order(world, shard="shard-1")
    await project(world)
    sql = "SELECT aggregate, aggregate_id, reason FROM live.parked_aggregate WHERE aggregate_id LIKE :key"
    [(kind, key, reason)] = await read(world, sql, key=f"{long[:30]}%")
    assert len(str(key)) <= 120
    if aggregate == "order":
        assert reason == "no id has 20000 characters: at most 100"
    else:
        assert reason == f"no aggregate of this release is called {kind}"
    assert await details(world, saga.order.order_id) is not None
    projector = Projector(world.cluster.primaries["shard-1"], world.cluster.read_model)
    assert await projector.retry_parked(Version.LIVE) >= 1


async def test_an_event_that_the_read_model_refuses_is_parked_alone_and_comes_back_when_it_can(world: World) -> None:
    bad, good = [await confirmed_order(world, shard="shard-1") for _ in range(2)]
    refuse = f"ALTER TABLE live.order_details ADD CONSTRAINT of_a_test CHECK (id <> '{bad.order.order_id}')"
    await read(world, refuse)
    await project(world)
    [(aggregate, version, reason)] = await parked(world, bad.order.order_id)
    assert (aggregate, version) == ("order", 2)
    assert reason.startswith("the read model refuses it: ")
    assert "of_a_test" in reason
    assert await details(world, good.order.order_id) is not None
    projector = Projector(world.cluster.primaries["shard-1"], world.cluster.read_model)
    assert await projector.retry_parked(Version.LIVE) >= 1
    await read(world, "ALTER TABLE live.order_details DROP CONSTRAINT of_a_test")
    await projector.retry_parked(Version.LIVE)
    assert await parked(world, bad.order.order_id) == []
    assert await details(world, bad.order.order_id) is not None


KINDS = {
    "product": ("product", "sku", "sku"),
    "stock": ("stock_level", "sku", "sku"),
    "customer": ("customer", "id", "customer"),
    "account": ("account_details", "id", "customer"),
    "order": ("order_details", "id", "order"),
}


def key_of(saga: SagaByHand, what: str) -> str:
    return {"sku": saga.order.lines[0].sku, "customer": saga.order.customer_id, "order": saga.order.order_id}[what]


@pytest.mark.parametrize("aggregate", KINDS)
async def test_one_that_cannot_be_projected_of_each_kind_is_parked_and_all_others_flow(
    world: World, aggregate: str
) -> None:
    table, column, what = KINDS[aggregate]
    bad, good = [await confirmed_order(world, shard="shard-1") for _ in range(2)]
    key = key_of(bad, what)
    await read(world, f"ALTER TABLE live.{table} ADD CONSTRAINT of_a_test CHECK ({column} <> '{key}')")
    try:
        await project(world)
        [(kind, _, reason)] = await parked(world, key)
        assert kind == aggregate
        assert str(reason).startswith("the read model refuses it: ")
        assert await details(world, good.order.order_id) is not None
        # The account's lines wait with it: none is left out when it comes back.
        assert await statement_sum(world, good.order.customer_id) == 9700
    finally:
        await read(world, f"ALTER TABLE live.{table} DROP CONSTRAINT of_a_test")
    for shard in world.cluster.primaries.values():
        await Projector(shard, world.cluster.read_model).retry_parked(Version.LIVE)
    assert await parked(world, key) == []
    assert await read(world, f"SELECT count(*) FROM live.{table} WHERE {column} = :key", key=key) == [(1,)]
    assert await statement_sum(world, bad.order.customer_id) == 9700


async def test_an_event_whose_shard_lacks_the_rows_is_found_and_parked_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that breaks the query, or our own code, among many that do not."""
    orders = [await confirmed_order(world, shard="shard-1") for _ in range(5)]
    bad, odd = orders[1].order.order_id, orders[3].order.order_id
    documents = f"""
        SELECT d.*, 1 / CASE WHEN key = '{bad}' THEN 0 ELSE 1 END AS one FROM ({DOCUMENTS[Aggregate.ORDER]}) AS d
    """
    monkeypatch.setitem(reading._NAMED, Aggregate.ORDER, reading._read_named(documents))
    write = copying.write_documents

    async def stumbles(to: AsyncConnection, version: Version, shard: str, kind: Aggregate, rows: str) -> None:
        if odd in rows:
            raise KeyError(odd)
        await write(to, version, shard, kind, rows)

    monkeypatch.setattr(copying, "write_documents", stumbles)
    await project(world)
    assert await parked(world, bad) == [("order", 2, "shard-1 refuses it: division by zero")]
    assert await parked(world, odd) == [("order", 2, f"it cannot be projected: KeyError: '{odd}'")]
    for saga in (orders[0], orders[2], orders[4]):
        assert await details(world, saga.order.order_id) is not None


@pytest.mark.parametrize("sqlstate", ["40P01", "57014", "53100", "55P03"])
async def test_a_server_that_is_slow_full_or_in_a_deadlock_parks_nothing(world: World, sqlstate: str) -> None:
    order = await confirmed_order(world, shard="shard-1")
    function = f"""
        CREATE FUNCTION live.of_a_test() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'not now' USING ERRCODE = '{sqlstate}'; END $$
    """
    trigger = "CREATE TRIGGER of_a_test BEFORE INSERT ON live.order_details EXECUTE FUNCTION live.of_a_test()"
    await run(world.cluster.read_model, function, trigger)
    try:
        with pytest.raises(DatabaseFailure, match="not now"):
            await Projector(world.cluster.primaries["shard-1"], world.cluster.read_model).project(Version.LIVE)
    finally:
        await run(world.cluster.read_model, "DROP FUNCTION live.of_a_test() CASCADE")
    assert await read(world, "SELECT * FROM live.parked_aggregate WHERE aggregate_id = :id", id=order.saga_id) == []
    await project(world)
    assert await details(world, order.order.order_id) is not None


async def test_ids_that_no_rule_would_let_in_are_projected_like_others(
    postgres_server: str, migrated_templates: Mapping[str, str]
) -> None:
    """Keys that were joined by spaces came back as other keys, and stopped the shard's projection."""
    async with lasting_world(postgres_server, migrated_templates) as world:
        for shard in world.cluster.primaries:
            await world.as_owner(
                shard,
                "ALTER TABLE orders DROP CONSTRAINT orders_id_check",
                "ALTER TABLE order_lookup DROP CONSTRAINT order_lookup_order_id_check",
            )
        orders = []
        for mark in (" ", "a b", '"', "{", ",", "\\", "NULL", "'", "\n", "ä"):
            wanted = world.order(await world.customer(shard="shard-1"), {await world.product(): 1})
            orders.append(replace(wanted, order_id=f"{wanted.order_id}{mark}"))
            await (await world.saga(orders[-1])).open()
        await project(world)
        for order in orders:
            assert await details(world, order.order_id) == ("pending", order.customer_id, 100, 1, None)
        assert await read(world, "SELECT * FROM live.parked_aggregate") == []


async def statement_sum(world: World, account_id: str) -> int:
    [(total,)] = await read(
        world, "SELECT CAST(sum(amount) AS bigint) FROM live.statement_line WHERE account_id = :id", id=account_id
    )
    return int(total)


async def test_a_later_event_of_a_parked_aggregate_tries_again(world: World) -> None:
    customer = await world.customer(shard="shard-3")
    async with world.cluster.primaries["shard-3"].transaction() as connection:
        await append(connection, "customer", customer, 2)
    await project(world)
    [(_, version, reason)] = await parked(world, customer)
    assert (version, reason) == (2, "an event is of version 2, but its row is of version 1")
    async with world.cluster.primaries["shard-3"].transaction() as connection:
        await connection.execute(text("UPDATE customer SET version = 3 WHERE id = :id"), {"id": customer})
        await append(connection, "customer", customer, 3)
    await project(world)
    assert await parked(world, customer) == []


async def parked(world: World, key: str) -> list[tuple[object, ...]]:
    sql = "SELECT aggregate, version, reason FROM live.parked_aggregate WHERE aggregate_id = :key"
    return await read(world, sql, key=key)


async def append(connection: AsyncConnection, aggregate: str, key: str, version: int) -> None:
    await connection.execute(_APPEND, {"aggregate": aggregate, "key": key, "version": version})


async def everything(world: World) -> dict[str, list[str]]:
    return {table: sorted(map(str, await read(world, f"SELECT * FROM live.{table}"))) for table in TABLES}
