"""What a caller sees of choreographed orders: placed, shown, cancelled, retried, imported; verified and recovered."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import pytest
from rich.console import Console
from temporalio.client import Client

from activities.reactors import ReactorStarter
from cli.order.trace_tree import TraceTree
from domain.choreography import Reactor, placement_id, reactor_id
from domain.errors import Refused
from domain.orders import Order, OrderStatus, Style
from domain.sagas import Reason
from shards.audit.audit import Audit
from shards.audit.findings import Check
from shards.connections.cluster import Cluster
from shards.orders.reads import OrderReads
from shards.reading.shard_reads import ReadSettings, ShardReads
from shardwise.connections import Connections
from shardwise.files.order_file import NumberedLine
from shardwise.operations.recovery import Found, Recovery
from shardwise.orders.documents import OrderDocument
from shardwise.orders.importing import LineOutcome, OrderImport, Tally
from shardwise.orders.sagas import OrderSagas
from shardwise.orders.service import Orders
from shardwise.orders.styles import OrderStyles
from shardwise.reading import Reading
from shardwise.temporal.calls import Workflows
from shardwise.temporal.states import TemporalWorkflowStates
from stack.embedded.waiting import attempts
from stack.settings import Settings
from tests.conftest import FreshCluster, FreshNamespace
from tests.support.opened import OpenedWith
from tests.support.services import followed, services
from tests.support.world import World
from tracing.read import trace_order

SECONDS = 30.0
_numbers = itertools.count(1)


class OrderCases:
    """Nothing runs except what a test starts by `open`."""

    def __init__(self, world: World, client: Client) -> None:
        self.world = world
        self.client = client

        async def temporal() -> Client:
            return client

        self.connections = Connections(world.cluster, world.router, ShardReads(world.router, ReadSettings()), temporal)

    def service(self, window_seconds: float = 0, stuck_after_seconds: float = 30) -> Orders:
        opened = OpenedWith(self.connections, self._settings(window_seconds, stuck_after_seconds))
        return Orders(opened, Reading(opened))

    def styles(self) -> OrderStyles:
        return OrderStyles(self.connections.temporal, self.world.router, self._settings())

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        async with services(self.client, self.world.router, self._settings()), followed(self.starters()):
            yield

    def starters(self) -> list[ReactorStarter]:
        return [ReactorStarter(shard, self.client) for shard in self.world.cluster.primaries.values()]

    async def order(self, balance: str = "100.00", style: Style = Style.CHOREOGRAPHED) -> Order:
        """An order of 2.00, over goods on two shards."""
        goods = {await self.world.product(near): 1 for near in "az"}
        wanted = self.world.order(await self.world.customer(balance), goods)
        return replace(wanted, order_id=f"service-{next(_numbers)}", style=style)

    async def audit(self) -> Audit:
        audit = Audit(self.world.cluster, TemporalWorkflowStates(self.client), lambda *_: None)
        await audit.run()
        return audit

    async def recover(self) -> Found:
        recovery = Recovery(self.connections, self._settings(), lambda *_: None)
        found = await recovery.find()
        await recovery.start(found)
        return found

    async def terminate(self, reactor: Reactor, order: Order, version: int) -> None:
        handle = self.client.get_workflow_handle(reactor_id(reactor, order.order_id, version))
        await handle.terminate("an operator's mistake")

    async def running(self, order: Order) -> list[str]:
        query = f'Saga = "order/{order.order_id}" AND ExecutionStatus = "Running"'
        return [each.id async for each in self.client.list_workflows(query)]

    def _settings(self, window_seconds: float = 0, stuck_after_seconds: float = 30) -> Settings:
        return Settings(
            cancellation_window_seconds=window_seconds,
            stuck_after_seconds=stuck_after_seconds,
        )


@pytest.fixture(scope="module")
async def cases(fresh_cluster: FreshCluster, fresh_namespace: FreshNamespace) -> AsyncIterator[OrderCases]:
    async with (
        fresh_cluster() as made,
        Cluster(made.shards, made.catalog, made.read_model, pool_size=8) as cluster,
    ):
        world = World(cluster)
        await world.open_shop()
        yield OrderCases(world, await fresh_namespace())


@pytest.fixture(autouse=True)
async def sound(cases: OrderCases) -> AsyncIterator[None]:
    """Whatever a test did, nothing is left half done."""
    yield
    async with cases.open():
        await until(lambda: _at_rest(cases))
    audit = await cases.audit()
    assert [each for found in audit.findings.by_check.values() for each in found.violations] == []
    assert await cases.world.violations() == []


async def _at_rest(cases: OrderCases) -> bool:
    return not (await cases.audit()).in_flight.sagas


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async for _ in attempts(SECONDS):
        if await holds():
            return
    raise AssertionError("it never comes to be")


def _said(document: OrderDocument) -> tuple[OrderStatus, Reason | None, Style]:
    return document.status, document.reason, document.style


# ── placing ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_order_is_placed_shown_and_placed_again(cases: OrderCases) -> None:
    order = await cases.order()
    async with cases.open():
        placed = await cases.service().place_order(order, SECONDS)
        assert _said(placed) == (OrderStatus.CONFIRMED, None, Style.CHOREOGRAPHED)
        assert placed.workflow_id == placement_id(order.order_id)
        assert await cases.service().show(order.order_id) == placed
        assert await cases.service().place_order(order, SECONDS) == placed


@pytest.mark.parametrize("first", Style)
async def test_the_first_style_under_an_id_stays(cases: OrderCases, first: Style) -> None:
    order = await cases.order(style=first)
    other = replace(order, style=first.other)
    async with cases.open():
        placed = await cases.service().place_order(order, SECONDS)
        assert placed.style is first
        assert await cases.service().place_order(other, SECONDS) == placed
        shard = placed.customer_shard or ""
        joined = await cases.styles().carry_out(other, shard, SECONDS)
        assert joined is not None
        assert (joined.status, joined.content_hash) == (OrderStatus.CONFIRMED, order.content_hash)


async def test_other_content_under_an_id_is_refused(cases: OrderCases) -> None:
    order = await cases.order()
    async with cases.open():
        await cases.service().place_order(order, SECONDS)
        with pytest.raises(Refused, match="other content"):
            await cases.service().place_order(replace(order, lines=order.lines[:1]), SECONDS)
        other = await cases.styles().carry_out(replace(order, lines=order.lines[:1]), "shard-1", SECONDS)
        assert other is not None
        assert other.refusal is not None
        assert other.refusal.reason is Reason.ID_CONFLICT


async def test_an_order_refused_before_or_after_it_had_a_row_has_its_reason(cases: OrderCases) -> None:
    poor = await cases.order(balance="1.99")
    of_unknown_customer = replace(await cases.order(), customer_id=await cases.world.new_name())
    greedy = await cases.order()
    greedy = replace(greedy, lines=(*greedy.lines[:1], replace(greedy.lines[1], quantity=11)))
    async with cases.open():
        refused = await cases.service().place_order(poor, SECONDS)
        assert _said(refused)[:2] == (OrderStatus.REJECTED, Reason.INSUFFICIENT_FUNDS)
        refused = await cases.service().place_order(greedy, SECONDS)
        assert _said(refused)[:2] == (OrderStatus.REJECTED, Reason.OUT_OF_STOCK)
        refused = await cases.service().place_order(of_unknown_customer, SECONDS)
        assert _said(refused) == (OrderStatus.REJECTED, Reason.UNKNOWN_CUSTOMER, Style.CHOREOGRAPHED)
        assert await cases.service().show(of_unknown_customer.order_id) == refused


async def test_a_caller_that_does_not_wait_gets_pending_and_the_order_goes_on(cases: OrderCases) -> None:
    order = await cases.order()
    assert (await cases.service().place_order(order, 0)).status is OrderStatus.PENDING
    assert (await cases.service().show(order.order_id)).style is Style.CHOREOGRAPHED
    async with cases.open():
        await until(lambda: _is(cases, order, OrderStatus.CONFIRMED))


async def _is(cases: OrderCases, order: Order, status: OrderStatus) -> bool:
    return (await cases.service().show(order.order_id)).status is status


async def test_many_orders_of_a_file_are_counted_by_how_they_end(cases: OrderCases) -> None:
    orders = [await cases.order(balance) for balance in ("100.00", "1.00", "50.00", "2.00")]
    lines = [
        json.dumps(
            {
                "order_id": order.order_id,
                "customer_id": order.customer_id,
                "currency": "USD",
                "lines": [{"sku": line.sku, "quantity": line.quantity, "unit_price": "1.00"} for line in order.lines],
            }
        )
        for order in orders
    ]

    async def batches() -> AsyncIterator[list[NumberedLine]]:
        yield [NumberedLine(number, text.encode(), len(text)) for number, text in enumerate([*lines, lines[0]], 1)]

    async def imported(style: Style) -> Tally:
        book = OrderReads(cases.world.router)
        return await OrderImport(book, cases.styles(), style, 10, SECONDS, lambda *_: None, Tally()).run(batches())

    expected = {LineOutcome.CONFIRMED: 3, LineOutcome.REJECTED: 1, LineOutcome.REPEATED: 1}
    async with cases.open():
        for style in (Style.CHOREOGRAPHED, Style.CHOREOGRAPHED, Style.ORCHESTRATED):
            assert (await imported(style)).outcomes == expected
    assert {(await cases.service().show(each.order_id)).style for each in orders} == {Style.CHOREOGRAPHED}


# ── its path ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_trace_of_an_order_goes_from_reactor_to_reactor(cases: OrderCases) -> None:
    order = await cases.order()
    async with cases.open():
        await cases.service().place_order(order, SECONDS)
        await until(lambda: _at_rest(cases))
        await until(lambda: _nobody_runs(cases, order))
        # Placed once more, as an orchestrated order: that workflow finds the other style, and is no part of the trace.
        led = OrderSagas(Workflows(cases.connections.temporal), Settings())
        repeated = await led.carry_out(replace(order, style=Style.ORCHESTRATED), "shard-1", SECONDS)
        assert repeated is not None
        assert repeated.refusal is not None
        assert repeated.refusal.reason is Reason.OTHER_STYLE
    trace = await trace_order(cases.connections.cluster, cases.connections.temporal, order.order_id)
    assert (trace.style, trace.status) == (Style.CHOREOGRAPHED, OrderStatus.CONFIRMED)
    expected = {
        reactor_id(Reactor.RESERVE_STOCK, order.order_id, 1): "OrderPlaced",
        reactor_id(Reactor.HOLD_PAYMENT, order.order_id, 2): "StockReserved",
        reactor_id(Reactor.CONFIRM_ORDER, order.order_id, 3): "PaymentHeld",
        reactor_id(Reactor.SHIP_ORDER, order.order_id, 4): "OrderConfirmed",
        reactor_id(Reactor.CREDIT_MERCHANT, order.order_id, 4): "OrderConfirmed",
    }
    assert {each.workflow_id: event.kind for event in trace.events for each in event.reactors} == expected
    assert all(event.at is not None and event.shard is not None for event in trace.events)
    expected[placement_id(order.order_id)] = ""
    assert {run.workflow_id for run in trace.runs} == expected.keys()
    assert trace.decision is not None
    assert trace.decision.outcome == "confirmed"
    assert {step.result for step in trace.steps} == {"done"}
    assert {step.name for step in trace.steps if step.row is None} <= {"price_lines"}
    assert all(step.workflow_id in expected for step in trace.steps)
    drawn = io.StringIO()
    Console(file=drawn, width=160).print(TraceTree(trace))
    assert f"payment: hold-payment  hold-payment/{order.order_id}/2, completed" in drawn.getvalue()
    assert "DECIDED: confirmed" in drawn.getvalue()


async def test_the_trace_of_a_refused_order_goes_back_again(cases: OrderCases) -> None:
    order = await cases.order(balance="1.99")
    async with cases.open():
        await cases.service().place_order(order, SECONDS)
        await until(lambda: _nobody_runs(cases, order))
    trace = await trace_order(cases.connections.cluster, cases.connections.temporal, order.order_id)
    events = [event.kind for event in trace.events]
    assert events == [
        "OrderPlaced",
        "StockReserved",
        "PaymentRefused",
        "OrderAborting",
        "StockReleased",
        "OrderRejected",
    ]
    results = {step.name: step.result for step in trace.steps}
    assert (results["place_order"], results["hold_payment"], results["reserve_stock"]) == (
        "undone",
        "refused",
        "undone",
    )
    assert (results["join_release"], results["abort_order"]) == ("done", "done")


# ── cancelling and prodding ─────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_in_its_window_an_order_is_undone_and_nobody_waits_any_more(cases: OrderCases) -> None:
    order = await cases.order()
    async with cases.open():
        service = cases.service(window_seconds=600)
        assert (await service.place_order(order, 0)).status is OrderStatus.PENDING
        confirming = reactor_id(Reactor.CONFIRM_ORDER, order.order_id, 3)
        await until(lambda: _runs(cases, order, confirming))
        assert (await cases.world.money_of(order.customer_id))[1] == 200
        cancelled = await service.cancel(order.order_id, SECONDS)
        assert _said(cancelled)[:2] == (OrderStatus.CANCELLED, Reason.CANCELLED)
        assert await cases.world.money_of(order.customer_id) == (10000, 0)
        assert await service.cancel(order.order_id, SECONDS) == cancelled
        await until(lambda: _nobody_runs(cases, order))


async def _runs(cases: OrderCases, order: Order, workflow_id: str) -> bool:
    return workflow_id in await cases.running(order)


async def _nobody_runs(cases: OrderCases, order: Order) -> bool:
    return await cases.running(order) == []


async def _is_over(cases: OrderCases, order: Order) -> bool:
    """Shipped and paid out too: the reactors for that begin a moment after the order is confirmed."""
    return await _at_rest(cases) and await _nobody_runs(cases, order)


async def test_a_confirmed_order_cannot_be_cancelled(cases: OrderCases) -> None:
    order = await cases.order()
    async with cases.open():
        await cases.service().place_order(order, SECONDS)
        assert (await cases.service().cancel(order.order_id, SECONDS)).status is OrderStatus.CONFIRMED


async def test_an_order_that_no_worker_has_begun_is_cancelled_when_one_begins_it(cases: OrderCases) -> None:
    order = await cases.order()
    await cases.service().place_order(order, 0)
    assert (await cases.service().cancel(order.order_id, 0.1)).status is OrderStatus.PENDING
    async with cases.open():
        await until(lambda: _is(cases, order, OrderStatus.CANCELLED))
    assert (await cases.service().show(order.order_id)).reason is Reason.CANCELLED


async def test_an_order_cancelled_between_its_claim_and_its_row_never_has_one(cases: OrderCases) -> None:
    order = await cases.order()
    await cases.world.orders.claim_order_id(order)
    cancelled = await cases.service().cancel(order.order_id, SECONDS)
    assert _said(cancelled) == (OrderStatus.CANCELLED, Reason.CANCELLED, Style.CHOREOGRAPHED)
    async with cases.open():
        assert await cases.service().place_order(order, SECONDS) == cancelled


async def _is_listed_as_stuck(cases: OrderCases, order: Order) -> bool:
    styles = OrderStyles(cases.connections.temporal, cases.world.router, Settings())
    return order.order_id in (await styles.stuck_order_ids() or ())


async def test_a_stuck_order_is_listed_and_goes_on_after_a_retry(cases: OrderCases) -> None:
    order = await cases.order()
    shards = cases.world.cluster.primaries
    async with cases.open():
        for shard in shards:
            await cases.world.as_owner(shard, "ALTER TABLE reservation RENAME TO mislaid")
        service = cases.service(stuck_after_seconds=0.5)
        await service.place_order(order, 0)
        await until(lambda: _is(cases, order, OrderStatus.STUCK))
        await until(lambda: _is_listed_as_stuck(cases, order))
        for shard in shards:
            await cases.world.as_owner(shard, "ALTER TABLE mislaid RENAME TO reservation")
        _, taken = await service.retry(order.order_id, SECONDS)
        assert taken
        await until(lambda: _is(cases, order, OrderStatus.CONFIRMED))
        await until(lambda: _is_over(cases, order))
        assert (await service.retry(order.order_id, 1))[1] is False


async def test_an_order_that_nobody_works_on_goes_on_from_its_row_after_a_retry(cases: OrderCases) -> None:
    order = await cases.order()
    await cases.service().place_order(order, 0)
    async with services(cases.client, cases.world.router, Settings()):
        await until(lambda: _has_row(cases, order))
        await until(lambda: _nobody_runs(cases, order))
    for starter in cases.starters():
        await starter.take_next()
    await cases.client.get_workflow_handle(reactor_id(Reactor.RESERVE_STOCK, order.order_id, 1)).terminate("lost")
    _, taken = await cases.service().retry(order.order_id, 1)
    assert taken
    async with cases.open():
        await until(lambda: _is(cases, order, OrderStatus.CONFIRMED))
        await until(lambda: _is_over(cases, order))
        assert (await cases.service().retry(order.order_id, 1))[1] is False


# ── verify and recover ──────────────────────────────────────────────────────────────────────────────────────


async def _in_flight(cases: OrderCases) -> tuple[bool, set[str]]:
    audit = await cases.audit()
    return audit.findings.ok, audit.in_flight.sagas


async def test_from_its_acceptance_to_its_end_an_order_is_in_flight_and_nothing_is_damaged(cases: OrderCases) -> None:
    order = await cases.order()
    saga_id = f"order/{order.order_id}"
    await cases.service().place_order(order, 0)
    assert await _in_flight(cases) == (True, {saga_id})
    async with services(cases.client, cases.world.router, Settings()):
        # Nobody reads the events, so the order is at work as long as one is unread.
        await until(lambda: _has_row(cases, order))
        await until(lambda: _nobody_runs(cases, order))
        assert await _in_flight(cases) == (True, {saga_id})
    for starter in cases.starters():
        await starter.take_next()
    # The reactor waits for its worker.
    assert await _in_flight(cases) == (True, {saga_id})
    assert (await cases.recover()).orders == []


async def _has_row(cases: OrderCases, order: Order) -> bool:
    return await cases.world.state_of(order) is not None


async def _left_by(cases: OrderCases, reactor: Reactor, version: int) -> Order:
    """An order whose reactor to this event was terminated before any worker had it."""
    order = await cases.order()
    by_hand = await cases.world.choreographed(order)
    await by_hand.place()
    if version > 1:
        for share in (0, 1):
            await by_hand.reserve(share)
        await by_hand.join_stock()
    if version > 2:
        await by_hand.hold()
    if version > 3:
        await by_hand.decide()
    for starter in cases.starters():
        await starter.take_next()
    await cases.terminate(reactor, order, version)
    return order


@pytest.mark.parametrize(
    ("reactor", "version"),
    [
        (Reactor.RESERVE_STOCK, 1),
        (Reactor.HOLD_PAYMENT, 2),
        (Reactor.CONFIRM_ORDER, 3),
    ],
)
async def test_an_undecided_order_whose_reactor_was_terminated_is_named_and_recovered(
    cases: OrderCases, reactor: Reactor, version: int
) -> None:
    order = await _left_by(cases, reactor, version)
    audit = await cases.audit()
    assert audit.findings.by_check[Check.ORDERS].violations[0].what == (
        f"order {order.order_id} is pending, and nobody works on it"
    )
    assert set(audit.abandoned) == {f"order/{order.order_id}"}
    assert [each.order_id for each in (await cases.recover()).orders] == [order.order_id]
    async with cases.open():
        await until(lambda: _is(cases, order, OrderStatus.CONFIRMED))
    assert (await cases.recover()).orders == []


@pytest.mark.parametrize(
    "lost", [(Reactor.SHIP_ORDER,), (Reactor.CREDIT_MERCHANT,), (Reactor.SHIP_ORDER, Reactor.CREDIT_MERCHANT)]
)
async def test_a_confirmed_order_that_was_not_shipped_or_paid_out_is_recovered(
    cases: OrderCases, lost: tuple[Reactor, ...]
) -> None:
    order = await _left_by(cases, lost[0], 4)
    for reactor in lost[1:]:
        await cases.terminate(reactor, order, 4)
    if len(lost) == 1:
        # The other reactor does its work first, so that a worker finds only this one.
        async with cases.open():
            await until(lambda: _nobody_runs(cases, order))
    assert set((await cases.audit()).abandoned) == {f"order/{order.order_id}"}
    await cases.recover()
    async with cases.open():
        await until(lambda: _nobody_runs(cases, order))
    assert (await cases.recover()).orders == []
    assert {await cases.world.goods_of(line.sku) for line in order.lines} == {(9, 0)}


async def test_an_order_whose_event_was_parked_is_recovered_from_its_row(cases: OrderCases) -> None:
    order = await cases.order()
    by_hand = await cases.world.choreographed(order)
    await by_hand.place()
    await cases.world.everywhere(
        "UPDATE outbox SET payload = jsonb_set(payload, '{choreography,total}', '17') WHERE saga_id = :s",
        s=by_hand.saga_id,
    )
    for starter in cases.starters():
        await starter.take_next()
    assert set((await cases.audit()).abandoned) == {by_hand.saga_id}
    assert [each.order_id for each in (await cases.recover()).orders] == [order.order_id]
    async with cases.open():
        await until(lambda: _is(cases, order, OrderStatus.CONFIRMED))


async def test_an_order_whose_placement_was_terminated_is_placed_again(cases: OrderCases) -> None:
    before_claim, after_claim = await cases.order(), await cases.order()
    for order in (before_claim, after_claim):
        await cases.service().place_order(order, 0)
    await cases.world.orders.claim_order_id(after_claim)
    for order in (before_claim, after_claim):
        await cases.client.get_workflow_handle(placement_id(order.order_id)).terminate("an operator's mistake")
    await until(lambda: _nobody_runs(cases, before_claim))
    found = await cases.recover()
    assert {each.order_id for each in found.orders} == {before_claim.order_id, after_claim.order_id}
    async with cases.open():
        await until(lambda: _is(cases, before_claim, OrderStatus.CONFIRMED))
        await until(lambda: _is(cases, after_claim, OrderStatus.CONFIRMED))
