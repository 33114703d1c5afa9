"""The steps that services record at a choreographed order's row: once each, while it matters, each with its event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from activities.interfaces import RefuseOrderId
from domain.choreography import EventKind, OrderEvent
from domain.errors import InvalidInput
from domain.identifiers import order_saga_id
from domain.sagas import ALREADY_COMPENSATED, Reason, Refusal, SagaOutcome
from domain.steps import RECORDS
from shards.orders import events as order_events
from shards.outbox.slice import Slice
from tests.support.world import ChoreographyByHand, World

CANCELLED = Refusal(Reason.CANCELLED, "somebody changed their mind")
NO_STOCK = Refusal(Reason.OUT_OF_STOCK, "nothing left")
WAY_TO_THE_DECISION = [(1, "OrderPlaced"), (2, "StockReserved"), (3, "PaymentHeld")]


@pytest.fixture
async def order(world: World) -> ChoreographyByHand:
    """10.00 of goods in two ranges, by a customer who has 100.00."""
    goods = {await world.product(near): 5 for near in "az"}
    return await world.choreographed(world.order(await world.customer("100.00"), goods))


async def brought_to(order: ChoreographyByHand, kind: EventKind) -> ChoreographyByHand:
    """Placed and stepped up to its confirmation."""
    assert await order.place() is None
    if kind is EventKind.ORDER_PLACED:
        return order
    assert [await order.reserve(share) for share in (0, 1)] == [None, None]
    assert await order.join_stock() is None
    if kind is EventKind.STOCK_RESERVED:
        return order
    assert await order.hold() is None
    assert kind is EventKind.PAYMENT_HELD
    return order


async def barrier_rows(order: ChoreographyByHand) -> set[tuple[str, str]]:
    rows = await order.world.everywhere("SELECT step, op FROM barrier WHERE saga_id = :s", s=order.saga_id)
    return {(row[0], row[1]) for row in rows}


# ── forward ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_placing_writes_the_order_and_holds_nothing(world: World, order: ChoreographyByHand) -> None:
    assert await order.place() is None
    assert await world.state_of(order.order) == "pending"
    assert await world.money_of(order.order.customer_id) == (10000, 0)
    assert await order.events() == [(1, "OrderPlaced")]


async def test_the_row_holds_its_newest_event_with_all_that_its_reactors_need(order: ChoreographyByHand) -> None:
    await order.place()
    placed = await order.newest()
    assert placed is not None
    assert (placed.version, placed.kind, placed.saga_id) == (1, EventKind.ORDER_PLACED, order.saga_id)
    first = placed.choreography
    assert (first.customer_id, first.total, first.stock) == (order.order.customer_id, order.total, order.shares)
    await order.join_stock(NO_STOCK)
    refused = await order.newest()
    assert refused is not None
    assert (refused.version, refused.kind, refused.choreography.refusal) == (2, EventKind.STOCK_REFUSED, NO_STOCK)
    assert refused.choreography.stock == first.stock


async def test_the_outbox_carries_what_the_row_holds(world: World, order: ChoreographyByHand) -> None:
    await brought_to(order, EventKind.PAYMENT_HELD)
    shard = (await world.customer_route(order.order.customer_id)).shard
    async with world.cluster.primaries[shard].snapshot() as snapshot:
        everything = Slice("0", str(2**62))
        events, count = await order_events.read_choreographed(snapshot, everything)
    mine = [event.parsed() for event in events if event.aggregate_id == order.order.order_id]
    assert [(event.version, event.kind) for event in mine] == WAY_TO_THE_DECISION
    assert mine[-1] == await order.newest()
    assert count > len(mine)


async def test_all_steps_together_move_the_money_and_the_goods(world: World, order: ChoreographyByHand) -> None:
    await brought_to(order, EventKind.PAYMENT_HELD)
    assert await world.money_of(order.order.customer_id) == (10000, 1000)
    assert (await order.decide()).outcome is SagaOutcome.CONFIRMED
    for share in (0, 1):
        await order.consume(share)
    await order.credit()
    assert await world.money_of(order.order.customer_id) == (9000, 0)
    assert await order.events() == [*WAY_TO_THE_DECISION, (4, "OrderConfirmed")]
    assert await world.violations() == []


async def test_each_step_called_many_times_at_once_happens_once(world: World, order: ChoreographyByHand) -> None:
    steps: list[Callable[[], Awaitable[Refusal | None]]] = [order.place, order.join_stock, order.hold]
    for step in steps:
        assert await asyncio.gather(*(step() for _ in range(6))) == [None] * 6
    assert await order.events() == WAY_TO_THE_DECISION
    assert await world.money_of(order.order.customer_id) == (10000, 1000)


async def test_an_order_that_costs_nothing_holds_nothing_and_goes_on(world: World) -> None:
    order = await world.choreographed(world.order(await world.customer("0.00"), {await world.product(): 1}, "0.00"))
    await order.place()
    await order.join_stock()
    assert await order.hold() is None
    assert (await order.decide()).outcome is SagaOutcome.CONFIRMED
    assert await world.violations() == []


# ── refusals ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("balance", "currency", "state", "reason"),
    [
        ("9.99", "USD", "open", Reason.INSUFFICIENT_FUNDS),
        ("100.00", "EUR", "open", Reason.CURRENCY_MISMATCH),
        ("100.00", "USD", "frozen", Reason.ACCOUNT_NOT_OPEN),
    ],
)
async def test_a_refused_payment_has_its_reason_and_stays_refused(
    world: World, balance: str, currency: str, state: str, reason: Reason
) -> None:
    customer = await world.customer(balance, currency)
    order = await world.choreographed(world.order(customer, {await world.product(): 10}))
    await order.place()
    await order.join_stock()
    await world.everywhere("UPDATE account SET state = :state WHERE id = :id", state=state, id=customer)
    refused = await order.hold()
    assert refused is not None
    assert refused.reason is reason
    await world.everywhere("UPDATE account SET state = 'open', overdraft = 100000 WHERE id = :id", id=customer)
    assert await order.hold() == refused
    assert (await order.events())[-1] == (3, "PaymentRefused")
    newest = await order.newest()
    assert newest is not None
    assert newest.choreography.refusal == refused
    assert (await world.money_of(customer))[1] == 0


async def test_a_payment_that_was_not_even_tried_is_refused_with_the_reason(order: ChoreographyByHand) -> None:
    await brought_to(order, EventKind.STOCK_RESERVED)
    assert await order.hold(CANCELLED) == CANCELLED
    assert await order.hold() == CANCELLED
    assert (await order.events())[-1] == (3, "PaymentRefused")


async def test_an_unknown_customer_s_order_leaves_no_row_and_its_reason_stays(world: World) -> None:
    order = await world.choreographed(world.order(await world.new_name(), {await world.product(): 1}))
    refused = await order.place()
    assert refused is not None
    assert refused.reason is Reason.UNKNOWN_CUSTOMER
    assert (await order.decide(refused)).outcome is SagaOutcome.ABSENT
    await world.orders.refuse_order_id(RefuseOrderId(order.order, refused))
    assert await world.state_of(order.order) is None
    assert await order.newest() is None
    assert await order.hold() == await order.join_stock() == ALREADY_COMPENSATED


# ── aborting ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [EventKind.ORDER_PLACED, EventKind.STOCK_RESERVED, EventKind.PAYMENT_HELD])
async def test_aborted_from_anywhere_everything_is_given_back_and_every_step_undone(
    world: World, order: ChoreographyByHand, kind: EventKind
) -> None:
    await brought_to(order, kind)
    before = await order.events()
    assert (await order.decide(CANCELLED)).refusal == CANCELLED
    for share in (0, 1):
        await order.release(share)
    await order.join_release()
    await order.abort(CANCELLED)
    after = [kind for _, kind in (await order.events())[len(before) :]]
    assert after == ["OrderAborting", "StockReleased", "OrderCancelled"]
    assert await world.money_of(order.order.customer_id) == (10000, 0)
    assert {await world.goods_of(sku) for share in order.shares for sku in share.quantities} == {(10, 0)}
    rows = await barrier_rows(order)
    assert {step for step, op in rows if op == "undo"} == {step for step, _ in rows}
    assert await world.violations() == []


async def test_a_step_after_the_decision_to_abort_publishes_no_event(world: World, order: ChoreographyByHand) -> None:
    await brought_to(order, EventKind.ORDER_PLACED)
    await order.decide(CANCELLED)
    assert await order.join_stock() == ALREADY_COMPENSATED
    assert await order.hold() == ALREADY_COMPENSATED
    assert [kind for _, kind in await order.events()] == ["OrderPlaced", "OrderAborting"]
    assert await world.money_of(order.order.customer_id) == (10000, 0)


async def test_a_step_after_the_end_publishes_no_event(order: ChoreographyByHand) -> None:
    await brought_to(order, EventKind.ORDER_PLACED)
    await order.decide(CANCELLED)
    await order.undo_all(CANCELLED)
    assert await order.join_stock() == await order.hold() == await order.place() == ALREADY_COMPENSATED
    await order.join_release()
    assert [kind for _, kind in await order.events()] == ["OrderPlaced", "OrderAborting", "OrderCancelled"]
    assert {step for step, op in await barrier_rows(order) if op == "undo"} >= set(RECORDS)


async def test_stock_is_never_released_twice_nor_of_a_confirmed_order(order: ChoreographyByHand) -> None:
    await brought_to(order, EventKind.PAYMENT_HELD)
    await order.decide()
    await order.join_release()
    assert (await order.events())[-1] == (4, "OrderConfirmed")


async def test_an_order_cancelled_before_it_was_placed_never_is(world: World, order: ChoreographyByHand) -> None:
    assert (await order.decide(CANCELLED)).outcome is SagaOutcome.ABSENT
    assert await order.place() == ALREADY_COMPENSATED
    assert await world.state_of(order.order) is None
    assert await order.events() == []


async def test_whatever_the_moment_of_a_cancel_no_payment_stays_held(world: World) -> None:
    for _ in range(10):
        order = await world.choreographed(world.order(await world.customer("100.00"), {await world.product(): 1}))
        await order.place()
        await order.join_stock()
        held, decision = await asyncio.gather(order.hold(), order.decide(CANCELLED))
        assert held in (None, ALREADY_COMPENSATED)
        assert decision.refusal == CANCELLED
        await asyncio.gather(order.undo_all(CANCELLED), order.hold())
        assert await world.money_of(order.order.customer_id) == (10000, 0)


# ── the other style ─────────────────────────────────────────────────────────────────────────────────────────


async def test_the_first_style_under_an_id_stays(world: World) -> None:
    wanted = world.order(await world.customer(), {await world.product(): 1})
    order = await world.choreographed(wanted)
    assert order.order.content_hash == wanted.content_hash
    refused = (await world.orders.claim_order_id(wanted)).refusal
    assert refused is not None
    assert refused.reason is Reason.OTHER_STYLE
    again = await world.orders.claim_order_id(order.order)
    assert (again.refusal, again.stock) == (None, order.shares)


async def test_an_orchestrated_order_carries_nothing_for_reactors(world: World) -> None:
    saga = await world.saga(world.order(await world.customer(), {await world.product(): 1}))
    await saga.open()
    await saga.decide(CANCELLED)
    await saga.undo_all(CANCELLED)
    payloads = await world.everywhere(
        "SELECT payload FROM outbox WHERE saga_id = :s AND aggregate = 'order' ORDER BY aggregate_version",
        s=order_saga_id(saga.order.order_id),
    )
    assert [set(row[0]) for row in payloads] == [{"customer_id", "total"}, {"reason"}, {"reason"}]
    steps = await world.everywhere("SELECT DISTINCT step FROM barrier WHERE saga_id = :s", s=saga.saga_id)
    assert not {row[0] for row in steps} & set(RECORDS)


async def test_an_event_that_no_reactor_could_take_is_recognized(order: ChoreographyByHand) -> None:
    await order.place()
    newest = await order.newest()
    assert isinstance(newest, OrderEvent)
    for kind, choreography in (("OrderPlaced", {"total": "a lot"}), ("SomethingNew", {}), ("OrderPlaced", None)):
        with pytest.raises(InvalidInput, match=r"ISO 4217|validation error|not a valid"):
            order_events.StoredEvent("order", "o", 1, kind, choreography).parsed()
