"""What starts the reactors: each once for its event, none left out, and one bad event does not stop the others."""

from __future__ import annotations

import random
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.reactors import SAGA, ReactorStarter
from domain.choreography import EventKind, OrderEvent, Reactor, placement_id, reactor_id, reactor_ids
from domain.errors import Unreachable
from domain.orders import Style
from shards.connections.cluster import Cluster
from shards.outbox import cursors, parked_events
from shards.outbox.cursors import REACTORS
from stack.embedded.waiting import attempts
from stack.settings import Databases, Settings
from tests.conftest import FreshCluster, FreshNamespace
from tests.support.services import followed, services
from tests.support.temporal import scratch_temporal
from tests.support.world import ChoreographyByHand, World
from workflows.interfaces import PlaceChoreographed
from workflows.orders.placement import PlaceChoreographedOrder

SHARD = "shard-2"
# It fits the index of the outbox, but not the one of parked events. Random, or it would be compressed.
TOO_LONG = "".join(random.Random(1).choices(string.ascii_letters + string.digits, k=2670))


@pytest.fixture(scope="module")
async def temporal(fresh_namespace: FreshNamespace) -> Client:
    return await fresh_namespace()


@pytest.fixture
async def clean_temporal(fresh_namespace: FreshNamespace) -> Client:
    """Without workflows that other tests have started and no worker has taken."""
    return await fresh_namespace()


@pytest.fixture
async def shop(fresh_cluster: FreshCluster) -> AsyncIterator[World]:
    """A world of its own: positions are a whole shard's."""
    async with fresh_cluster() as made, _cluster(made) as cluster:
        world = World(cluster)
        await world.open_shop()
        yield world


def _cluster(databases: Databases) -> Cluster:
    return Cluster(databases.shards, databases.catalog, databases.read_model, pool_size=8)


@pytest.fixture
def starter(shop: World, temporal: Client) -> ReactorStarter:
    return ReactorStarter(shop.cluster.primaries[SHARD], temporal)


async def placed(shop: World, mark: str) -> ChoreographyByHand:
    """On `SHARD`, with an id that no other test's Temporal knows."""
    wanted = shop.order(await shop.customer(shard=SHARD), {await shop.product(): 1})
    order = await shop.choreographed(replace(wanted, order_id=f"{mark}-{wanted.order_id}"))
    assert await order.place() is None
    return order


async def status(client: Client, reactor: Reactor, order: ChoreographyByHand, version: int) -> str | None:
    handle = client.get_workflow_handle(reactor_id(reactor, order.order.order_id, version))
    described = await handle.describe()
    assert described.typed_search_attributes.get(SAGA) == order.saga_id
    assert described.status is not None
    return described.status.name


async def position(shop: World) -> str:
    async with shop.cluster.primaries[SHARD].transaction() as connection:
        return await cursors.read_position(connection, REACTORS)


async def parked(shop: World) -> list[tuple[str, int, str]]:
    async with shop.cluster.primaries[SHARD].transaction() as connection:
        found = await parked_events.list_parked(connection, REACTORS)
    return [(each.aggregate_id, each.version, each.reason) for each in found]


async def test_every_event_starts_its_reactors_once_on_their_services_queues(
    shop: World, starter: ReactorStarter, temporal: Client
) -> None:
    order = await placed(shop, "once")
    await order.reserve(0)
    await order.join_stock()
    await order.hold()
    await order.decide()
    stepped = await starter.take_next()
    assert stepped.events >= 4
    for number, kind in enumerate(
        (EventKind.ORDER_PLACED, EventKind.STOCK_RESERVED, EventKind.PAYMENT_HELD, EventKind.ORDER_CONFIRMED), 1
    ):
        for workflow_id in reactor_ids(kind, order.order.order_id, number):
            described = await temporal.get_workflow_handle(workflow_id).describe()
            reactor = Reactor(workflow_id.partition("/")[0])
            assert (described.task_queue, described.workflow_type) == (reactor.service, reactor.workflow_type)
            assert described.status is WorkflowExecutionStatus.RUNNING
    again = await starter.take_next()
    assert (again.events, again.more) == (0, False)


async def test_an_idle_shard_s_position_is_written_once(shop: World, starter: ReactorStarter) -> None:
    await placed(shop, "idle")
    await starter.take_next()
    first = await position(shop)
    for _ in range(3):
        await starter.take_next()
    assert await position(shop) == first


async def test_orchestrated_orders_start_no_reactor(shop: World, starter: ReactorStarter, temporal: Client) -> None:
    saga = await shop.saga(shop.order(await shop.customer(shard=SHARD), {await shop.product(): 1}))
    await saga.open()
    assert (await starter.take_next()).events > 0
    found = [each async for each in temporal.list_workflows(f'Saga = "{saga.saga_id}"')]
    assert found == []


async def test_read_again_after_a_crash_a_running_reactor_is_left_and_a_lost_one_started_again(
    shop: World, starter: ReactorStarter, temporal: Client
) -> None:
    running, lost = await placed(shop, "running"), await placed(shop, "lost")
    await starter.take_next()
    runs = {}
    for order in (running, lost):
        handle = temporal.get_workflow_handle(reactor_id(Reactor.RESERVE_STOCK, order.order.order_id, 1))
        runs[order] = (handle, (await handle.describe()).run_id)
    await runs[lost][0].terminate("lost")
    await shop.rows(SHARD, "DELETE FROM outbox_cursor")
    assert (await starter.take_next()).events > 0
    assert (await runs[running][0].describe()).run_id == runs[running][1]
    assert (await runs[lost][0].describe()).run_id != runs[lost][1]
    assert await status(temporal, Reactor.RESERVE_STOCK, lost, 1) == "RUNNING"


async def test_a_completed_reactor_runs_again_only_if_its_order_still_waits_for_it(
    shop: World, starter: ReactorStarter, temporal: Client
) -> None:
    """A shard that was restored to before what the reactor did: its workflow's id is used up, its work is undone."""
    waits, goes_on = await placed(shop, "waits"), await placed(shop, "goes-on")
    await goes_on.reserve(0)
    await goes_on.join_stock()
    await starter.take_next()
    runs = {}
    for order in (waits, goes_on):
        handle = temporal.get_workflow_handle(reactor_id(Reactor.RESERVE_STOCK, order.order.order_id, 1))
        await completed(handle, temporal)
        runs[order] = (handle, (await handle.describe()).run_id)
    await shop.rows(SHARD, "DELETE FROM outbox_cursor")
    await starter.take_next()
    assert (await runs[goes_on][0].describe()).run_id == runs[goes_on][1]
    assert (await runs[waits][0].describe()).run_id != runs[waits][1]
    assert await status(temporal, Reactor.RESERVE_STOCK, waits, 1) == "RUNNING"


async def test_a_parked_event_is_started_from_its_row_when_the_cause_is_gone(
    shop: World, starter: ReactorStarter, temporal: Client
) -> None:
    due, gone_on, damaged = [await placed(shop, mark) for mark in ("due", "gone-on", "damaged")]
    await shop.rows(SHARD, "UPDATE outbox SET kind = 'OrderBewitched' WHERE aggregate = 'order'")
    await starter.take_next()
    assert {row[0] for row in await parked(shop)} == {each.order.order_id for each in (due, gone_on, damaged)}
    await gone_on.reserve(0)
    await gone_on.join_stock()
    broken = "UPDATE orders SET choreography = choreography || jsonb_build_object('event', 'Bewitched') WHERE id = :id"
    await shop.rows(SHARD, broken, id=damaged.order.order_id)
    assert await starter.retry_parked() == 1
    assert {row[0] for row in await parked(shop)} == {damaged.order.order_id}
    assert await status(temporal, Reactor.RESERVE_STOCK, due, 1) == "RUNNING"


async def test_events_that_an_open_transaction_hides_are_taken_when_it_has_ended(
    shop: World, starter: ReactorStarter, temporal: Client
) -> None:
    async with shop.transaction(await shop.customer_route(await shop.customer(shard=SHARD))) as tx:
        await tx.connection.exec_driver_sql("SELECT pg_current_xact_id()")
        order = await placed(shop, "hidden")
        hidden = await starter.take_next()
        assert hidden.more
        order_ids = {row[0] for row in await shop.rows(SHARD, "SELECT aggregate_id FROM outbox")}
        assert order.order.order_id in order_ids
        found = [each async for each in temporal.list_workflows(f'Saga = "{order.saga_id}"')]
        assert found == []
    await starter.take_next()
    assert await status(temporal, Reactor.RESERVE_STOCK, order, 1) == "RUNNING"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("payload = jsonb_set(payload, '{choreography,total}', '\"a lot\"')", "total"),
        ("payload = jsonb_set(payload, '{choreography}', '17')", "choreography"),
        ("kind = 'OrderBewitched'", "OrderBewitched"),
        (f"aggregate_id = aggregate_id || '{TOO_LONG}'", "reserve-stock"),
    ],
    ids=["no total", "no choreography", "no such kind", "a key that no index holds"],
)
async def test_a_poisoned_event_is_parked_with_its_reason_and_the_rest_goes_on(
    shop: World, starter: ReactorStarter, temporal: Client, change: str, reason: str
) -> None:
    bad, good = await placed(shop, f"bad-{len(reason)}"), await placed(shop, f"good-{len(reason)}")
    where = "WHERE aggregate = 'order' AND aggregate_id = :id"
    await shop.rows(SHARD, f"UPDATE outbox SET {change} {where}", id=bad.order.order_id)
    await starter.take_next()
    [(order_id, version, found)] = await parked(shop)
    assert (order_id.startswith(bad.order.order_id), len(order_id) <= 120, version) == (True, True, 1)
    assert reason.casefold() in found.casefold() or "currency" in found
    assert await status(temporal, Reactor.RESERVE_STOCK, good, 1) == "RUNNING"
    assert (await starter.take_next()).events == 0


async def test_with_temporal_away_the_position_stays(shop: World, tmp_path: Path) -> None:
    await placed(shop, "away")
    async with scratch_temporal(tmp_path) as gone:
        starter = ReactorStarter(shop.cluster.primaries[SHARD], gone)
    with pytest.raises(Unreachable):
        await starter.take_next()
    assert await position(shop) == "0"
    assert await parked(shop) == []


@pytest.mark.parametrize("balance", ["100.00", "0.50"])
async def test_four_services_carry_an_order_to_its_end(shop: World, clean_temporal: Client, balance: str) -> None:
    temporal = clean_temporal
    goods = {await shop.product(near): 1 for near in "az"}
    order = replace(shop.order(await shop.customer(balance), goods), style=Style.CHOREOGRAPHED)
    order = replace(order, order_id=f"whole-{balance}")
    starters = [ReactorStarter(shard, temporal) for shard in shop.cluster.primaries.values()]
    settings = Settings()
    async with services(temporal, shop.router, settings), followed(starters):
        placement = await temporal.execute_workflow(
            PlaceChoreographedOrder.run,
            PlaceChoreographed(order),
            id=placement_id(order.order_id),
            task_queue="orders",
        )
        assert placement.refusal is None
        ended = "OrderConfirmed" if balance == "100.00" else "OrderRejected"
        await until(lambda: _has_ended(shop, order.order_id, ended))
        left = 9 if balance == "100.00" else 10
        # The reactor that ships is started by the event that ended the order.
        await until(lambda: _is_left_of_all(shop, goods, left))
        await until(lambda: _nothing_runs(temporal, f"order/{order.order_id}"))
    assert await shop.violations() == []


async def _is_left_of_all(shop: World, skus: Iterable[str], count: int) -> bool:
    return {await shop.goods_of(sku) for sku in skus} == {(count, 0)}


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async for _ in attempts(60):
        if await holds():
            return
    raise AssertionError("it does not come to its end")


async def _has_ended(shop: World, order_id: str, kind: str) -> bool:
    sql = "SELECT 1 FROM outbox WHERE aggregate = 'order' AND aggregate_id = :id AND kind = :kind"
    return bool(await shop.everywhere(sql, id=order_id, kind=kind))


async def _nothing_runs(client: Client, saga_id: str) -> bool:
    query = f'Saga = "{saga_id}" AND ExecutionStatus = "Running"'
    return not [each async for each in client.list_workflows(query)]


async def completed(handle: WorkflowHandle[Any, Any], temporal: Client) -> None:
    """Ends it, by a worker that does nothing."""
    queue = (await handle.describe()).task_queue
    async with Worker(temporal, task_queue=queue, workflows=[DoesNothing], workflow_runner=UnsandboxedWorkflowRunner()):
        await handle.result()


@workflow.defn(name=Reactor.RESERVE_STOCK.workflow_type)
class DoesNothing:
    @workflow.run
    async def run(self, event: OrderEvent) -> None:
        pass
