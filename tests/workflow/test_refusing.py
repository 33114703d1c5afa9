"""Orders that cannot be confirmed leave nothing behind, and say why."""

from __future__ import annotations

import pytest

from activities.interfaces import DecideOrder
from domain.money import Money
from domain.orders import OrderLine, OrderStatus, Style
from domain.sagas import Reason, Refusal
from tests.workflow.fakes import Lookup, ShopInMemory, decide
from tests.workflow.faults import FailsForGood, LosesAck
from tests.workflow.modes import OTHERS, Mode
from tests.workflow.order_driver import OrderDriver, statuses

USD = "USD"


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_out_of_stock_on_one_shard_releases_the_other_and_the_money(orders: OrderDriver) -> None:
    handle = await orders.place((OrderLine("apple", 2, Money(5_00, USD)), OrderLine("beet", 11, Money(1_00, USD))))
    orders.assert_aborted(await handle.result(), Reason.OUT_OF_STOCK)
    assert await statuses(handle) == ["compensating", "rejected"]


async def test_without_the_money_no_stock_is_reserved_and_yet_all_is_undone(
    orders: OrderDriver, shop: ShopInMemory
) -> None:
    shop.balances["ada"] = 0
    shop.__post_init__()
    handle = await orders.place()
    orders.assert_aborted(await handle.result(), Reason.INSUFFICIENT_FUNDS)
    assert "reserve_stock/a" not in shop.calls


async def test_an_unknown_product_is_refused_by_its_stock_shard(orders: OrderDriver) -> None:
    handle = await orders.place((OrderLine("kale", 1, Money(5_00, USD)), OrderLine("beet", 1, Money(1_00, USD))))
    orders.assert_aborted(await handle.result(), Reason.UNKNOWN_SKU)


async def test_an_unknown_product_without_a_price_is_refused_by_the_catalogue(
    orders: OrderDriver, shop: ShopInMemory
) -> None:
    """Before the order had a row: the reason is kept beside the order's id."""
    handle = await orders.place((OrderLine("kale", 1),))
    orders.assert_aborted(await handle.result(), Reason.UNKNOWN_SKU, shares="a")
    assert "open_order" not in shop.calls


async def test_an_unknown_customer_leaves_the_reason_beside_the_order_id(
    orders: OrderDriver, shop: ShopInMemory
) -> None:
    handle = await orders.place(customer_id="nobody")
    result = await handle.result()
    orders.assert_aborted(result, Reason.UNKNOWN_CUSTOMER)
    assert result.total is None
    assert "refuse_order_id" in shop.calls


async def test_an_order_over_the_limit_of_an_amount_is_refused(orders: OrderDriver, shop: ShopInMemory) -> None:
    shop.shelves["apple"].price = Money(10**15, USD)
    handle = await orders.place((OrderLine("apple", 2),))
    orders.assert_aborted(await handle.result(), Reason.AMOUNT_TOO_LARGE, shares="a")
    assert "open_order" not in shop.calls


async def test_an_id_that_names_another_order_touches_nothing(orders: OrderDriver, shop: ShopInMemory) -> None:
    shop.lookups[orders.order_id] = Lookup("the hash of another order", Style.ORCHESTRATED, ())
    handle = await orders.place()
    result = await handle.result()
    assert result.refusal is not None
    assert (result.status, result.refusal.reason) == (OrderStatus.REJECTED, Reason.ID_CONFLICT)
    assert set(shop.calls) == {"claim_order_id"}
    assert shop.lookups[orders.order_id].refusal is None


BEFORE_THE_DECISION = ("price_lines", "open_order", "reserve_stock/a", "reserve_stock/b")
ONE_WITHOUT_PRICE = (OrderLine("apple", 2), OrderLine("beet", 1, Money(1_00, USD)))


@pytest.mark.parametrize("step", BEFORE_THE_DECISION)
async def test_a_failure_no_retry_can_mend_aborts_before_the_decision(
    orders: OrderDriver, shop: ShopInMemory, step: str
) -> None:
    shop.inject(step, FailsForGood())
    handle = await orders.place(ONE_WITHOUT_PRICE)
    result = await handle.result()
    orders.assert_aborted(result, Reason.STEP_FAILED)
    assert result.refusal is not None
    assert "the ledger does not add up" in result.refusal.detail


@pytest.mark.parametrize("step", ["decide_order", "release_stock/a", "release_stock/b", "abort_order"])
async def test_an_abort_whose_answer_was_lost_counts_once(orders: OrderDriver, shop: ShopInMemory, step: str) -> None:
    shop.shelves["apple"].on_hand = 1
    shop.__post_init__()
    shop.inject(step, LosesAck())
    handle = await orders.place()
    orders.assert_aborted(await handle.result(), Reason.OUT_OF_STOCK)
    assert shop.calls.count(step) == 2


async def test_the_first_decision_wins_whatever_the_workflow_requests(orders: OrderDriver, shop: ShopInMemory) -> None:
    """Another caller cancelled the order in its row, while the workflow's own step was about to be refused."""
    hang = orders.hang_durably("reserve_stock/a")
    shop.shelves["apple"].on_hand = 1
    shop.__post_init__()
    handle = await orders.place()
    await hang.reached.wait()
    theirs = Refusal(Reason.CANCELLED, "cancelled at the counter")
    decide(shop, DecideOrder(orders.order_id, "ada", theirs))
    hang.release()
    result = await handle.result()
    orders.assert_aborted(result, Reason.CANCELLED)
    assert result.refusal == theirs


async def test_a_step_that_was_undone_before_it_ran_takes_the_reason_from_the_row(
    orders: OrderDriver, shop: ShopInMemory
) -> None:
    hang = orders.hang_durably("reserve_stock/a")
    handle = await orders.place()
    await hang.reached.wait()
    theirs = Refusal(Reason.CANCELLED, "cancelled at the counter")
    decide(shop, DecideOrder(orders.order_id, "ada", theirs))
    shop.undo_once(f"order/{orders.order_id}", "reserve_stock/a", lambda: None)
    hang.release()
    result = await handle.result()
    orders.assert_aborted(result, Reason.CANCELLED)
    assert result.refusal == theirs


async def test_asked_to_confirm_an_order_without_a_row_ends_as_undone(orders: OrderDriver, shop: ShopInMemory) -> None:
    """Its row is gone before the decision: damage, which must not end as confirmed or for ever pending."""
    hang = orders.hang_durably("decide_order")
    handle = await orders.place()
    await hang.reached.wait()
    row = shop.rows.pop(orders.order_id)
    shop.balances["ada"] += row.held
    hang.release()
    result = await handle.result()
    orders.assert_aborted(result, Reason.ALREADY_COMPENSATED)


@pytest.mark.parametrize("mode", [Mode("regular")], ids=str)
async def test_no_reservation_runs_beside_its_own_compensation(orders: OrderDriver, shop: ShopInMemory) -> None:
    """One shard refuses while the other is slow: the workflow waits for the slow one, then undoes it."""
    hang = orders.hang_durably("reserve_stock/b")
    shop.shelves["apple"].on_hand = 1
    shop.__post_init__()
    handle = await orders.place()
    await hang.reached.wait()
    hang.release()
    orders.assert_aborted(await handle.result(), Reason.OUT_OF_STOCK)
    assert shop.calls.index("reserve_stock/b") < shop.calls.index("release_stock/b")
