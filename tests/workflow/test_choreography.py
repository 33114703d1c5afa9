"""A choreographed order comes to the same ends as an orchestrated one, whatever befalls its reactors."""

from __future__ import annotations

import asyncio

import pytest

from domain.choreography import REACTIONS, EventKind, Reactor
from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus, Style
from domain.sagas import Reason, SagaOptions
from tests.workflow.choreography_driver import ChoreographyDriver, other_content
from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import Fails, FailsForGood, LosesAck, Outage
from tests.workflow.modes import OTHERS
from tests.workflow.order_driver import (
    TOTAL,
    TWO_APPLES_AND_A_BEET,
    OrderDriver,
    only_hangs,
    scheduled,
    statuses,
    until,
    walked,
)
from tests.workflow.test_stuck import make_beets_scarce
from workflows.interfaces import PlaceOrder
from workflows.orders.placement import PlaceChoreographedOrder
from workflows.orders.saga import OrderSaga

STEPS = walked(Style.CHOREOGRAPHED)
UNDO = ("release_stock/a", "release_stock/b", "join_release", "abort_order")
HOUR = 3600.0


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_a_good_order_is_confirmed_each_step_once(choreography: ChoreographyDriver, shop: ShopInMemory) -> None:
    placed = await choreography.place()
    assert placed.refusal is None
    await choreography.play()
    choreography.assert_confirmed()
    assert sorted(shop.calls) == sorted(STEPS)
    assert shop.credited == TOTAL.minor


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_an_order_short_of_stock_gives_back_what_it_had(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    make_beets_scarce(shop)
    await choreography.place()
    await choreography.play()
    choreography.assert_aborted(Reason.OUT_OF_STOCK)
    assert "hold_payment" not in shop.calls


async def test_an_order_that_cannot_be_paid_gives_its_stock_back(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    shop.balances["ada"] = TOTAL.minor - 1
    shop.__post_init__()
    await choreography.place()
    await choreography.play()
    choreography.assert_aborted(Reason.INSUFFICIENT_FUNDS)
    assert EventKind.PAYMENT_REFUSED in choreography.kinds()


async def test_an_unknown_customer_s_order_is_refused_without_a_row_or_an_event(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    placed = await choreography.place(customer_id="nobody")
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.UNKNOWN_CUSTOMER
    assert shop.lookups[choreography.order_id].refusal == placed.refusal
    assert (shop.rows, shop.events) == ({}, [])


async def test_a_line_without_a_price_takes_the_catalogues(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    await choreography.place(lines=(OrderLine("apple", 3), OrderLine("beet", 1)))
    await choreography.play()
    choreography.assert_confirmed()
    assert shop.credited == 16_00


async def test_an_order_that_costs_nothing_credits_nobody(choreography: ChoreographyDriver, shop: ShopInMemory) -> None:
    await choreography.place(lines=(OrderLine("apple", 1, Money.zero("USD")),))
    await choreography.play()
    choreography.assert_confirmed()
    assert "credit_merchant" not in shop.calls


# ── what befalls the steps ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_twice_is_tried_a_third_time(
    choreography: ChoreographyDriver, shop: ShopInMemory, step: str
) -> None:
    shop.inject(step, Fails(), Fails())
    await choreography.place()
    await choreography.play()
    choreography.assert_confirmed()
    assert shop.calls.count(step) == 3


@pytest.mark.parametrize("step", STEPS)
async def test_a_commit_whose_answer_was_lost_counts_once(
    choreography: ChoreographyDriver, shop: ShopInMemory, step: str
) -> None:
    shop.inject(step, LosesAck())
    await choreography.place()
    await choreography.play()
    choreography.assert_confirmed()
    assert shop.calls.count(step) == 2


@pytest.mark.parametrize("step", UNDO)
@pytest.mark.parametrize("fault", [Fails, LosesAck])
async def test_an_undo_that_fails_is_tried_again(
    choreography: ChoreographyDriver, shop: ShopInMemory, step: str, fault: type[Fails] | type[LosesAck]
) -> None:
    make_beets_scarce(shop)
    shop.inject(step, *[fault() for _ in range(3)])
    await choreography.place()
    await choreography.play()
    choreography.assert_aborted(Reason.OUT_OF_STOCK)


@pytest.mark.parametrize("step", ["reserve_stock/a", "hold_payment"])
async def test_a_step_that_fails_for_good_before_the_decision_aborts_the_order(
    choreography: ChoreographyDriver, shop: ShopInMemory, step: str
) -> None:
    shop.inject(step, FailsForGood())
    await choreography.place()
    await choreography.play()
    choreography.assert_aborted(Reason.STEP_FAILED)


async def test_an_order_that_cannot_be_placed_for_good_is_refused(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    shop.inject("place_order", FailsForGood())
    placed = await choreography.place()
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.STEP_FAILED
    assert (shop.rows, shop.events) == ({}, [])


@pytest.mark.parametrize("kind", [kind for kind, reactors in REACTIONS.items() if reactors])
@pytest.mark.parametrize("scarce", [False, True], ids=["confirmed", "aborted"])
async def test_an_event_delivered_again_after_the_end_changes_nothing(
    choreography: ChoreographyDriver, shop: ShopInMemory, kind: EventKind, scarce: bool
) -> None:
    if scarce:
        make_beets_scarce(shop)
    await choreography.place()
    await choreography.play()
    kinds = choreography.kinds()
    for event in [event for event in shop.events if event.kind is kind]:
        await choreography.react(event)
    assert choreography.kinds() == kinds
    shop.assert_whole()


@pytest.mark.parametrize("customer_too", [False, True], ids=["the order", "its customer too"])
async def test_goods_of_an_order_that_its_shard_has_forgotten_are_given_back(
    choreography: ChoreographyDriver, shop: ShopInMemory, customer_too: bool
) -> None:
    """`recover` places it again. Decided without a row it is barred; without its customer it cannot be opened."""
    await choreography.place()
    await choreography.play(until=EventKind.PAYMENT_HELD)
    shop.forget(choreography.order_id)
    if customer_too:
        money = shop.balances.pop("ada")
    else:
        await choreography.react(choreography.event(EventKind.PAYMENT_HELD))
    assert any(shelf.reserved for shelf in shop.shelves.values())
    placed = await choreography.place()
    assert placed.refusal is not None
    assert placed.refusal.reason is (Reason.UNKNOWN_CUSTOMER if customer_too else Reason.ALREADY_COMPENSATED)
    assert shop.lookups[choreography.order_id].refusal == placed.refusal
    assert shop.rows == {}
    if customer_too:
        shop.balances["ada"] = money
    shop.assert_whole()


# ── stuck ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_that_fails_for_long_raises_the_alarm_and_goes_on_by_itself(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    outage = Outage()
    shop.inject("consume_stock/a", outage)
    await choreography.place()
    await choreography.play(until=EventKind.ORDER_CONFIRMED)
    shipping = await choreography.start(Reactor.SHIP_ORDER, choreography.event(EventKind.ORDER_CONFIRMED))
    await until(lambda: shop.calls.count("consume_stock/a") > choreography.local_attempts)
    await choreography.env.sleep(60)
    assert await statuses(shipping) == ["stuck"]
    outage.over()
    await shipping.result()
    assert await statuses(shipping) == ["stuck", "pending"]
    await (await choreography.start(Reactor.CREDIT_MERCHANT, choreography.event(EventKind.ORDER_CONFIRMED))).result()
    choreography.assert_confirmed()


async def test_a_failure_that_no_retry_can_mend_after_the_decision_waits_for_the_operator(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    shop.inject("credit_merchant", *[FailsForGood()] * (2 if choreography.local_attempts else 1))
    await choreography.place()
    await choreography.play(until=EventKind.ORDER_CONFIRMED)
    event = choreography.event(EventKind.ORDER_CONFIRMED)
    crediting = await choreography.start(Reactor.CREDIT_MERCHANT, event)

    async def stuck() -> bool:
        return await statuses(crediting) == ["stuck"]

    await until(stuck)
    await crediting.execute_update("retry")
    await crediting.result()
    assert await scheduled(crediting, "credit_merchant") == 2
    await (await choreography.start(Reactor.SHIP_ORDER, event)).result()
    choreography.assert_confirmed()


async def test_a_placement_that_waits_for_its_shard_can_be_prodded(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    outage = Outage()
    shop.inject("claim_order_id", outage)
    placing = await choreography.begin(choreography.request())
    await until(lambda: shop.calls.count("claim_order_id") > choreography.local_attempts)
    await choreography.env.sleep(60)
    assert await statuses(placing) == ["stuck"]
    outage.over()
    await placing.execute_update(PlaceChoreographedOrder.retry)
    assert (await placing.result()).refusal is None
    await choreography.play()
    choreography.assert_confirmed()


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_in_its_window_the_order_is_undone(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    await choreography.place(window_seconds=HOUR)
    await choreography.play(until=EventKind.PAYMENT_HELD)
    confirming = await choreography.start(Reactor.CONFIRM_ORDER, choreography.event(EventKind.PAYMENT_HELD))
    await confirming.cancel()
    await confirming.result()
    for kind in (EventKind.ORDER_ABORTING, EventKind.STOCK_RELEASED):
        await choreography.react(choreography.event(kind))
    choreography.assert_aborted(Reason.CANCELLED)


async def test_nobody_cancels_a_window_that_has_passed(choreography: ChoreographyDriver, shop: ShopInMemory) -> None:
    await choreography.place(window_seconds=HOUR)
    await choreography.play(until=EventKind.PAYMENT_HELD)
    confirming = await choreography.start(Reactor.CONFIRM_ORDER, choreography.event(EventKind.PAYMENT_HELD))
    await choreography.env.sleep(HOUR - 1)
    assert choreography.status() is OrderStatus.PENDING
    await choreography.env.sleep(2)
    await confirming.result()
    await choreography.react(choreography.event(EventKind.ORDER_CONFIRMED))
    choreography.assert_confirmed()


@pytest.mark.parametrize(
    ("kind", "reactor", "step"),
    [
        (EventKind.ORDER_PLACED, Reactor.RESERVE_STOCK, "reserve_stock/a"),
        (EventKind.STOCK_RESERVED, Reactor.HOLD_PAYMENT, "hold_payment"),
    ],
)
async def test_a_reactor_cancelled_before_the_decision_has_the_order_undone(
    choreography: ChoreographyDriver, shop: ShopInMemory, kind: EventKind, reactor: Reactor, step: str
) -> None:
    hang = choreography.hang_durably(step)
    await choreography.place()
    await choreography.play(until=kind)
    reacting = await choreography.start(reactor, choreography.event(kind))
    await only_hangs(reacting, hang)
    await reacting.cancel()
    await until(lambda: len(shop.events) > choreography.kinds().index(kind) + 1)
    hang.release()
    await reacting.result()
    for event in shop.events[choreography.kinds().index(kind) + 1 :]:
        await choreography.react(event)
    while shop.events[-1].kind not in (EventKind.ORDER_CANCELLED, EventKind.ORDER_REJECTED):
        await choreography.react(shop.events[-1])
    choreography.assert_aborted(Reason.CANCELLED)


@pytest.mark.parametrize("step", ["consume_stock/a", "credit_merchant"])
async def test_a_cancel_after_the_decision_stops_nothing(
    choreography: ChoreographyDriver, shop: ShopInMemory, step: str
) -> None:
    hang = choreography.hang_durably(step)
    await choreography.place()
    await choreography.play(until=EventKind.ORDER_CONFIRMED)
    event = choreography.event(EventKind.ORDER_CONFIRMED)
    reacting = [await choreography.start(reactor, event) for reactor in REACTIONS[event.kind]]
    await hang.reached.wait()
    for each in reacting:
        await each.cancel()
    hang.release()
    await asyncio.gather(*(each.result() for each in reacting))
    choreography.assert_confirmed()


async def test_a_placement_cancelled_before_there_is_a_row_leaves_none(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    hang = choreography.hang_durably("place_order")
    placing = await choreography.begin(choreography.request())
    await only_hangs(placing, hang)
    await placing.cancel()
    await until(lambda: "refuse_order_id" in shop.calls)
    hang.release()
    placed = await placing.result()
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.CANCELLED
    await hang.ended.wait()
    assert (shop.rows, shop.events) == ({}, [])


# ── ids ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_id_of_another_order_places_nothing(choreography: ChoreographyDriver, shop: ShopInMemory) -> None:
    await choreography.place()
    other = await (await choreography.begin(other_content(choreography.request()))).result()
    assert other.refusal is not None
    assert other.refusal.reason is Reason.ID_CONFLICT
    assert choreography.kinds() == [EventKind.ORDER_PLACED]


async def test_the_same_order_placed_again_publishes_no_event(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    await choreography.place()
    again = await choreography.place()
    assert again.refusal is None
    assert choreography.kinds() == [EventKind.ORDER_PLACED]


async def test_the_first_style_under_an_id_stays(
    choreography: ChoreographyDriver, orders: OrderDriver, shop: ShopInMemory
) -> None:
    await choreography.place()
    order = Order(choreography.order_id, "ada", "USD", TWO_APPLES_AND_A_BEET)
    result = await choreography.env.client.execute_workflow(
        OrderSaga.run,
        PlaceOrder(order, SagaOptions(choreography.mode.mode)),
        id=f"order/{choreography.order_id}",
        task_queue=str(choreography.mode),
    )
    assert result.refusal is not None
    assert result.refusal.reason is Reason.OTHER_STYLE
    await choreography.play()
    choreography.assert_confirmed()

    await (await orders.place()).result()
    late = ChoreographyDriver(choreography.env, shop, choreography.mode, orders.order_id)
    placed = await late.place()
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.OTHER_STYLE
    assert orders.status() is OrderStatus.CONFIRMED
