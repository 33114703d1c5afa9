"""A choreographed order comes to the same ends as an orchestrated one, whatever befalls its reactors."""

from __future__ import annotations

import asyncio

import pytest

from domain.choreography import REACTIONS, EventKind, Reactor
from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus, Style
from domain.sagas import Reason, SagaOptions
from tests.workflow.desk import TOTAL, TWO_APPLES_AND_A_BEET, Desk, only_hangs, scheduled, statuses, until, walked
from tests.workflow.fakes import Shop
from tests.workflow.faults import Fails, FailsForGood, LosesAck, Outage
from tests.workflow.modes import OTHERS
from tests.workflow.stage import Stage, other_content
from tests.workflow.test_stuck import make_beets_scarce
from workflows.interfaces import PlaceOrder
from workflows.orders.placement import PlaceChoreographedOrder
from workflows.orders.saga import OrderSaga

STEPS = walked(Style.CHOREOGRAPHED)
UNDO = ("release_stock/a", "release_stock/b", "join_release", "abort_order")
HOUR = 3600.0


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_a_good_order_is_confirmed_each_step_once(stage: Stage, shop: Shop) -> None:
    placed = await stage.place()
    assert placed.refusal is None
    await stage.play()
    stage.assert_confirmed()
    assert sorted(shop.calls) == sorted(STEPS)
    assert shop.credited == TOTAL.minor


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_an_order_short_of_stock_gives_back_what_it_had(stage: Stage, shop: Shop) -> None:
    make_beets_scarce(shop)
    await stage.place()
    await stage.play()
    stage.assert_aborted(Reason.OUT_OF_STOCK)
    assert "hold_payment" not in shop.calls


async def test_an_order_that_cannot_be_paid_gives_its_stock_back(stage: Stage, shop: Shop) -> None:
    shop.balances["ada"] = TOTAL.minor - 1
    shop.__post_init__()
    await stage.place()
    await stage.play()
    stage.assert_aborted(Reason.INSUFFICIENT_FUNDS)
    assert EventKind.PAYMENT_REFUSED in stage.kinds()


async def test_a_stranger_s_order_is_refused_without_a_row_or_an_event(stage: Stage, shop: Shop) -> None:
    placed = await stage.place(customer_id="nobody")
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.UNKNOWN_CUSTOMER
    assert shop.lookups[stage.order_id].refusal == placed.refusal
    assert (shop.rows, shop.events) == ({}, [])


async def test_a_line_without_a_price_takes_the_catalogues(stage: Stage, shop: Shop) -> None:
    await stage.place(lines=(OrderLine("apple", 3), OrderLine("beet", 1)))
    await stage.play()
    stage.assert_confirmed()
    assert shop.credited == 16_00


async def test_an_order_that_costs_nothing_credits_nobody(stage: Stage, shop: Shop) -> None:
    await stage.place(lines=(OrderLine("apple", 1, Money.zero("USD")),))
    await stage.play()
    stage.assert_confirmed()
    assert "credit_merchant" not in shop.calls


# ── what befalls the steps ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_that_fails_twice_is_tried_a_third_time(stage: Stage, shop: Shop, step: str) -> None:
    shop.inject(step, Fails(), Fails())
    await stage.place()
    await stage.play()
    stage.assert_confirmed()
    assert shop.calls.count(step) == 3


@pytest.mark.parametrize("step", STEPS)
async def test_a_commit_whose_answer_was_lost_counts_once(stage: Stage, shop: Shop, step: str) -> None:
    shop.inject(step, LosesAck())
    await stage.place()
    await stage.play()
    stage.assert_confirmed()
    assert shop.calls.count(step) == 2


@pytest.mark.parametrize("step", UNDO)
@pytest.mark.parametrize("fault", [Fails, LosesAck])
async def test_an_undo_that_fails_is_tried_again(
    stage: Stage, shop: Shop, step: str, fault: type[Fails] | type[LosesAck]
) -> None:
    make_beets_scarce(shop)
    shop.inject(step, *[fault() for _ in range(3)])
    await stage.place()
    await stage.play()
    stage.assert_aborted(Reason.OUT_OF_STOCK)


@pytest.mark.parametrize("step", ["reserve_stock/a", "hold_payment"])
async def test_a_step_that_fails_for_good_before_the_decision_aborts_the_order(
    stage: Stage, shop: Shop, step: str
) -> None:
    shop.inject(step, FailsForGood())
    await stage.place()
    await stage.play()
    stage.assert_aborted(Reason.STEP_FAILED)


async def test_an_order_that_cannot_be_placed_for_good_is_refused(stage: Stage, shop: Shop) -> None:
    shop.inject("place_order", FailsForGood())
    placed = await stage.place()
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.STEP_FAILED
    assert (shop.rows, shop.events) == ({}, [])


@pytest.mark.parametrize("kind", [kind for kind, reactors in REACTIONS.items() if reactors])
@pytest.mark.parametrize("scarce", [False, True], ids=["confirmed", "aborted"])
async def test_an_event_told_again_when_all_is_over_changes_nothing(
    stage: Stage, shop: Shop, kind: EventKind, scarce: bool
) -> None:
    if scarce:
        make_beets_scarce(shop)
    await stage.place()
    await stage.play()
    kinds = stage.kinds()
    for event in [event for event in shop.events if event.kind is kind]:
        await stage.react(event)
    assert stage.kinds() == kinds
    shop.assert_whole()


@pytest.mark.parametrize("customer_too", [False, True], ids=["the order", "its customer too"])
async def test_goods_of_an_order_that_its_shard_has_forgotten_are_given_back(
    stage: Stage, shop: Shop, customer_too: bool
) -> None:
    """`recover` places it again. Decided without a row it is barred; without its customer it cannot be opened."""
    await stage.place()
    await stage.play(until=EventKind.PAYMENT_HELD)
    shop.forget(stage.order_id)
    if customer_too:
        money = shop.balances.pop("ada")
    else:
        await stage.react(stage.event(EventKind.PAYMENT_HELD))
    assert any(shelf.reserved for shelf in shop.shelves.values())
    placed = await stage.place()
    assert placed.refusal is not None
    assert placed.refusal.reason is (Reason.UNKNOWN_CUSTOMER if customer_too else Reason.ALREADY_COMPENSATED)
    assert shop.lookups[stage.order_id].refusal == placed.refusal
    assert shop.rows == {}
    if customer_too:
        shop.balances["ada"] = money
    shop.assert_whole()


# ── stuck ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_that_fails_for_long_raises_the_alarm_and_goes_on_by_itself(stage: Stage, shop: Shop) -> None:
    outage = Outage()
    shop.inject("consume_stock/a", outage)
    await stage.place()
    await stage.play(until=EventKind.ORDER_CONFIRMED)
    shipping = await stage.start(Reactor.SHIP_ORDER, stage.event(EventKind.ORDER_CONFIRMED))
    await until(lambda: shop.calls.count("consume_stock/a") > stage.local_attempts)
    await stage.env.sleep(60)
    assert await statuses(shipping) == ["stuck"]
    outage.over()
    await shipping.result()
    assert await statuses(shipping) == ["stuck", "pending"]
    await (await stage.start(Reactor.CREDIT_MERCHANT, stage.event(EventKind.ORDER_CONFIRMED))).result()
    stage.assert_confirmed()


async def test_what_no_retry_can_mend_after_the_decision_waits_for_the_operator(stage: Stage, shop: Shop) -> None:
    shop.inject("credit_merchant", *[FailsForGood()] * (2 if stage.local_attempts else 1))
    await stage.place()
    await stage.play(until=EventKind.ORDER_CONFIRMED)
    event = stage.event(EventKind.ORDER_CONFIRMED)
    crediting = await stage.start(Reactor.CREDIT_MERCHANT, event)

    async def stuck() -> bool:
        return await statuses(crediting) == ["stuck"]

    await until(stuck)
    await crediting.execute_update("retry")
    await crediting.result()
    assert await scheduled(crediting, "credit_merchant") == 2
    await (await stage.start(Reactor.SHIP_ORDER, event)).result()
    stage.assert_confirmed()


async def test_a_placement_that_waits_for_its_shard_can_be_prodded(stage: Stage, shop: Shop) -> None:
    outage = Outage()
    shop.inject("claim_order_id", outage)
    placing = await stage.begin(stage.request())
    await until(lambda: shop.calls.count("claim_order_id") > stage.local_attempts)
    await stage.env.sleep(60)
    assert await statuses(placing) == ["stuck"]
    outage.over()
    await placing.execute_update(PlaceChoreographedOrder.retry)
    assert (await placing.result()).refusal is None
    await stage.play()
    stage.assert_confirmed()


# ── cancelling ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_cancelled_in_its_window_the_order_is_undone(stage: Stage, shop: Shop) -> None:
    await stage.place(window_seconds=HOUR)
    await stage.play(until=EventKind.PAYMENT_HELD)
    confirming = await stage.start(Reactor.CONFIRM_ORDER, stage.event(EventKind.PAYMENT_HELD))
    await confirming.cancel()
    await confirming.result()
    for kind in (EventKind.ORDER_ABORTING, EventKind.STOCK_RELEASED):
        await stage.react(stage.event(kind))
    stage.assert_aborted(Reason.CANCELLED)


async def test_nobody_cancels_a_window_that_has_passed(stage: Stage, shop: Shop) -> None:
    await stage.place(window_seconds=HOUR)
    await stage.play(until=EventKind.PAYMENT_HELD)
    confirming = await stage.start(Reactor.CONFIRM_ORDER, stage.event(EventKind.PAYMENT_HELD))
    await stage.env.sleep(HOUR - 1)
    assert stage.status() is OrderStatus.PENDING
    await stage.env.sleep(2)
    await confirming.result()
    await stage.react(stage.event(EventKind.ORDER_CONFIRMED))
    stage.assert_confirmed()


@pytest.mark.parametrize(
    ("kind", "reactor", "step"),
    [
        (EventKind.ORDER_PLACED, Reactor.RESERVE_STOCK, "reserve_stock/a"),
        (EventKind.STOCK_RESERVED, Reactor.HOLD_PAYMENT, "hold_payment"),
    ],
)
async def test_a_reactor_cancelled_before_the_decision_has_the_order_undone(
    stage: Stage, shop: Shop, kind: EventKind, reactor: Reactor, step: str
) -> None:
    hang = stage.hang_durably(step)
    await stage.place()
    await stage.play(until=kind)
    reacting = await stage.start(reactor, stage.event(kind))
    await only_hangs(reacting, hang)
    await reacting.cancel()
    await until(lambda: len(shop.events) > stage.kinds().index(kind) + 1)
    hang.release()
    await reacting.result()
    for event in shop.events[stage.kinds().index(kind) + 1 :]:
        await stage.react(event)
    while shop.events[-1].kind not in (EventKind.ORDER_CANCELLED, EventKind.ORDER_REJECTED):
        await stage.react(shop.events[-1])
    stage.assert_aborted(Reason.CANCELLED)


@pytest.mark.parametrize("step", ["consume_stock/a", "credit_merchant"])
async def test_a_cancel_after_the_decision_stops_nothing(stage: Stage, shop: Shop, step: str) -> None:
    hang = stage.hang_durably(step)
    await stage.place()
    await stage.play(until=EventKind.ORDER_CONFIRMED)
    event = stage.event(EventKind.ORDER_CONFIRMED)
    reacting = [await stage.start(reactor, event) for reactor in REACTIONS[event.kind]]
    await hang.reached.wait()
    for each in reacting:
        await each.cancel()
    hang.release()
    await asyncio.gather(*(each.result() for each in reacting))
    stage.assert_confirmed()


async def test_a_placement_cancelled_before_there_is_a_row_leaves_none(stage: Stage, shop: Shop) -> None:
    hang = stage.hang_durably("place_order")
    placing = await stage.begin(stage.request())
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


async def test_the_id_of_another_order_places_nothing(stage: Stage, shop: Shop) -> None:
    await stage.place()
    other = await (await stage.begin(other_content(stage.request()))).result()
    assert other.refusal is not None
    assert other.refusal.reason is Reason.ID_CONFLICT
    assert stage.kinds() == [EventKind.ORDER_PLACED]


async def test_the_same_order_placed_again_tells_nobody(stage: Stage, shop: Shop) -> None:
    await stage.place()
    again = await stage.place()
    assert again.refusal is None
    assert stage.kinds() == [EventKind.ORDER_PLACED]


async def test_the_first_style_under_an_id_stays(stage: Stage, desk: Desk, shop: Shop) -> None:
    await stage.place()
    order = Order(stage.order_id, "ada", "USD", TWO_APPLES_AND_A_BEET)
    result = await stage.env.client.execute_workflow(
        OrderSaga.run,
        PlaceOrder(order, SagaOptions(stage.mode.mode)),
        id=f"order/{stage.order_id}",
        task_queue=str(stage.mode),
    )
    assert result.refusal is not None
    assert result.refusal.reason is Reason.OTHER_STYLE
    await stage.play()
    stage.assert_confirmed()

    await (await desk.place()).result()
    late = Stage(stage.env, shop, stage.mode, desk.order_id)
    placed = await late.place()
    assert placed.refusal is not None
    assert placed.refusal.reason is Reason.OTHER_STYLE
    assert desk.status() is OrderStatus.CONFIRMED
