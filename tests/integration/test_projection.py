"""What the shards decide reaches the read model: once, whole, in whatever order its events come."""

from __future__ import annotations

from sqlalchemy import text

from domain.sagas import Reason, Refusal
from shards.projection.projector import Projector
from tests.support.projecting import project, read
from tests.support.world import SagaByHand, World

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
OUT_OF_STOCK = Refusal(Reason.OUT_OF_STOCK, "nothing left")


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


async def test_a_confirmed_order_is_told_with_names_prices_sales_and_statement(world: World) -> None:
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


async def test_a_rejected_order_is_told_with_its_reason_and_sells_nothing(world: World) -> None:
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


async def test_what_commits_last_though_its_ids_came_first_is_not_skipped(world: World) -> None:
    """Red without the horizon: the reader of ids would have passed this order's before its transaction ended."""
    customer, sku = await world.customer(shard="shard-1"), await world.product()
    late, early = [await world.saga(world.order(customer, {sku: 1})) for _ in range(2)]
    route = await world.customer_route(customer)
    shard = world.cluster.shards["shard-1"]
    projector = Projector(shard, world.cluster.read_model)
    await project(world)
    async with shard.transaction() as connection:
        await connection.execute(text("SELECT pg_current_xact_id()"))
        await connection.execute(text("SELECT nextval(pg_get_serial_sequence('outbox', 'id'))"))
        await early.open()
        stepped = await projector.step()
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


async def everything(world: World) -> dict[str, list[str]]:
    return {table: sorted(map(str, await read(world, f"SELECT * FROM live.{table}"))) for table in TABLES}
