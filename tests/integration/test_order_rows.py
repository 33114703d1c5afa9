"""The order's row: one decision, whoever requests it and when, and the money that depends on it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from pydantic import TypeAdapter
from sqlalchemy import CursorResult, TextClause
from temporalio.exceptions import ApplicationError

from activities.interfaces import OpenOrder, RefuseOrderId
from domain.errors import TryAgain
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, OrderLine
from domain.sagas import ALREADY_COMPENSATED, Decision, Reason, Refusal, SagaOutcome
from shards.orders import decision, order_row
from shards.orders import lookup as order_lookup
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier
from tests.support.world import RolledBack, SagaByHand, World

REFUSAL = TypeAdapter[None](None)
CANCELLED = Refusal(Reason.CANCELLED, "somebody changed their mind")
NO_STOCK = Refusal(Reason.OUT_OF_STOCK, "nothing left")


@pytest.fixture
async def saga(world: World) -> SagaByHand:
    """An order of 10.00 by a customer who has 100.00."""
    return await world.saga(world.order(await world.customer("100.00"), {await world.product(): 10}))


def unopened(world: World, customer_id: str) -> Order:
    return world.order(customer_id, {"a": 10})


async def shipments(saga: SagaByHand) -> int:
    found = await saga.world.everywhere("SELECT 1 FROM shipment WHERE order_id = :id", id=saga.order.order_id)
    return len(found)


async def hold_of(saga: SagaByHand) -> list[tuple[Any, ...]]:
    return await saga.world.everywhere("SELECT amount, state FROM hold WHERE saga_id = :s", s=saga.saga_id)


# ── opening ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_opening_writes_the_order_with_its_lines_and_holds_the_payment(world: World, saga: SagaByHand) -> None:
    assert await saga.open() is None
    assert await world.state_of(saga.order) == "pending"
    assert await hold_of(saga) == [(1000, "placed")]
    assert await world.money_of(saga.order.customer_id) == (10000, 1000)
    lines = await world.everywhere(
        "SELECT quantity, unit_price FROM order_line WHERE order_id = :id", id=saga.order.order_id
    )
    assert lines == [(10, 100)]


async def test_many_openings_at_once_hold_the_payment_once(world: World, saga: SagaByHand) -> None:
    assert await asyncio.gather(*(saga.open() for _ in range(8))) == [None] * 8
    assert await world.money_of(saga.order.customer_id) == (10000, 1000)


async def test_a_second_opening_at_other_prices_keeps_the_first(world: World, saga: SagaByHand) -> None:
    await saga.open()
    dearer = OpenOrder(saga.order, saga.lines, Money(9999, "USD"))
    assert (await world.orders.open_order(dearer)).refusal is None
    assert (await saga.decide()).total == Money(1000, "USD")
    assert await world.money_of(saga.order.customer_id) == (9000, 0)


@pytest.mark.parametrize(
    ("balance", "price", "refused"),
    [("9.99", "1.00", Reason.INSUFFICIENT_FUNDS), ("10.00", "1.00", None), ("0.00", "0.00", None)],
)
async def test_the_last_cent_decides(world: World, balance: str, price: str, refused: Reason | None) -> None:
    saga = await world.saga(world.order(await world.customer(balance), {"a": 10}, price))
    refusal = await saga.open()
    assert (refusal.reason if refusal else None) == refused
    assert (await saga.open()) == refusal


async def test_a_refused_opening_leaves_an_undecided_row_without_a_hold(world: World) -> None:
    saga = await world.saga(world.order(await world.customer("1.00"), {"a": 10}))
    await saga.open()
    assert await world.state_of(saga.order) == "pending"
    assert await hold_of(saga) == []
    # The money came too late: the answer is the stored one.
    await world.everywhere("UPDATE account SET overdraft = 100000 WHERE id = :id", id=saga.order.customer_id)
    refusal = await saga.open()
    assert refusal is not None
    assert refusal.reason is Reason.INSUFFICIENT_FUNDS


@pytest.mark.parametrize(
    ("state", "balance", "currency", "refused"),
    [
        ("frozen", 10000, "USD", Reason.ACCOUNT_NOT_OPEN),
        ("closed", 0, "USD", Reason.ACCOUNT_NOT_OPEN),
        ("open", 10000, "EUR", Reason.CURRENCY_MISMATCH),
    ],
)
async def test_an_account_that_cannot_pay_refuses(
    world: World, state: str, balance: int, currency: str, refused: Reason
) -> None:
    customer_id = await world.customer(Money(balance, "USD").amount)
    await world.everywhere("UPDATE account SET state = :state WHERE id = :id", state=state, id=customer_id)
    refusal = await (await world.saga(world.order(customer_id, {"a": 1}, currency=currency))).open()
    assert refusal is not None
    assert refusal.reason is refused
    assert await world.money_of(customer_id) == (balance, 0)


# ── one decision ────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_twenty_decisions_at_once_one_wins_and_all_get_the_same_answer(world: World) -> None:
    customer_id = await world.customer("100.00")
    for _ in range(4):
        saga = await world.saga(world.order(customer_id, {"a": 10}))
        await saga.open()
        before = (await world.money_of(customer_id))[0]
        wishes = [None if n % 2 else Refusal(Reason.CANCELLED, str(n)) for n in range(20)]
        answers = await asyncio.gather(*(saga.decide(wish) for wish in wishes))
        assert len(set(answers)) == 1
        confirmed = answers[0].is_confirmed
        assert await world.state_of(saga.order) == ("confirmed" if confirmed else "aborting")
        assert await shipments(saga) == int(confirmed)
        assert (await world.money_of(customer_id))[0] == before - (1000 if confirmed else 0)


async def test_confirming_captures_exactly_the_hold_and_asks_for_the_shipment(world: World, saga: SagaByHand) -> None:
    await saga.open()
    assert await saga.decide() == Decision(SagaOutcome.CONFIRMED, None, Money(1000, "USD"))
    assert await saga.decide(CANCELLED) == Decision(SagaOutcome.CONFIRMED, None, Money(1000, "USD"))
    assert await hold_of(saga) == [(1000, "captured")]
    assert await world.money_of(saga.order.customer_id) == (9000, 0)
    assert await shipments(saga) == 1
    assert await world.everywhere("SELECT role, amount FROM clearing_leg WHERE saga_id = :s", s=saga.saga_id) == [
        ("first", 1000)
    ]


async def test_an_account_frozen_after_the_hold_still_pays(world: World, saga: SagaByHand) -> None:
    await saga.open()
    await world.everywhere("UPDATE account SET state = 'frozen' WHERE id = :id", id=saga.order.customer_id)
    assert (await saga.decide()).is_confirmed
    assert await world.money_of(saga.order.customer_id) == (9000, 0)


async def test_an_order_of_nothing_confirms_without_a_hold(world: World) -> None:
    saga = await world.saga(world.order(await world.customer("0.00"), {"a": 1}, price="0.00"))
    await saga.open()
    assert (await saga.decide()).is_confirmed
    assert await hold_of(saga) == []
    assert await shipments(saga) == 1


async def test_confirming_without_a_hold_is_damage_and_changes_nothing(world: World) -> None:
    saga = await world.saga(world.order(await world.customer("1.00"), {"a": 10}))
    await saga.open()  # refused: no money
    with pytest.raises(ApplicationError, match="expected a placed hold") as failure:
        await saga.decide()
    assert failure.value.non_retryable
    assert await world.state_of(saga.order) == "pending"
    assert await shipments(saga) == 0
    assert (await saga.decide(CANCELLED)).outcome is SagaOutcome.ABORTING


# ── a decision before, after and while the order is opened ──────────────────────────────────────────────────


async def test_a_decision_before_the_opening_bars_it(world: World, saga: SagaByHand) -> None:
    assert await saga.decide(CANCELLED) == Decision(SagaOutcome.ABSENT, CANCELLED)
    assert await saga.open() == ALREADY_COMPENSATED
    assert await world.state_of(saga.order) is None
    assert await world.money_of(saga.order.customer_id) == (10000, 0)


async def test_a_confirmation_of_an_order_without_a_row_bars_the_opening_too(world: World, saga: SagaByHand) -> None:
    assert await saga.decide() == Decision(SagaOutcome.ABSENT, ALREADY_COMPENSATED)
    assert await saga.open() == ALREADY_COMPENSATED
    assert await world.money_of(saga.order.customer_id) == (10000, 0)


async def test_without_a_row_the_first_reason_stays(saga: SagaByHand) -> None:
    await saga.decide(NO_STOCK)
    assert (await saga.decide(CANCELLED)).refusal == NO_STOCK
    assert (await saga.decide()).refusal == NO_STOCK


async def test_without_a_row_of_many_reasons_at_once_one_stays(saga: SagaByHand) -> None:
    answers = await asyncio.gather(*(saga.decide(Refusal(Reason.CANCELLED, str(n))) for n in range(8)))
    assert len(set(answers)) == 1


async def test_after_an_unknown_customer_the_decision_returns_at_once(world: World) -> None:
    saga = await world.saga(unopened(world, "nobody"))
    refusal = await saga.open()
    assert refusal is not None
    assert refusal.reason is Reason.UNKNOWN_CUSTOMER
    assert await saga.decide(refusal) == Decision(SagaOutcome.ABSENT, refusal)
    await saga.abort(refusal)
    assert await saga.decide(CANCELLED) == Decision(SagaOutcome.ABSENT, refusal)


async def test_an_opening_in_flight_is_waited_for_and_then_decided_in_its_row(world: World, saga: SagaByHand) -> None:
    route = await world.customer_route(saga.order.customer_id)
    async with world.transaction(route) as tx:
        await open_in(tx, saga)
        deciding = asyncio.ensure_future(saga.decide(CANCELLED))
        await world.until_waiting(route.shard)
    with pytest.raises(ApplicationError, match="opened just now") as failure:
        await deciding
    assert not failure.value.non_retryable
    assert (await saga.decide(CANCELLED)).outcome is SagaOutcome.ABORTING
    await saga.abort(CANCELLED)
    assert await world.money_of(saga.order.customer_id) == (10000, 0)


async def test_an_opening_that_rolls_back_while_it_is_decided_never_comes_back(world: World, saga: SagaByHand) -> None:
    route = await world.customer_route(saga.order.customer_id)
    deciding = None
    with contextlib.suppress(RolledBack):
        async with world.transaction(route) as tx:
            await open_in(tx, saga)
            deciding = asyncio.ensure_future(saga.decide(CANCELLED))
            await world.until_waiting(route.shard)
            raise RolledBack
    assert deciding is not None
    assert await deciding == Decision(SagaOutcome.ABSENT, CANCELLED)
    assert await saga.open() == ALREADY_COMPENSATED
    assert await world.money_of(saga.order.customer_id) == (10000, 0)


async def open_in(tx: ShardTransaction, saga: SagaByHand) -> None:
    """What the activity does, in a transaction of the test's."""

    async def effect() -> None:
        assert await order_row.open_order(tx, saga.order, saga.lines, saga.total) is None

    await barrier.do_once(tx, order_saga_id(saga.order.order_id), order_row.OPEN_STEP, effect, REFUSAL)


class OpeningBetweenTwoStatements(ShardTransaction):
    """Opens the order after the first statement, which found no row, and before the second."""

    def __init__(self, tx: ShardTransaction, saga: SagaByHand) -> None:
        super().__init__(tx.connection, tx.route)
        self.saga = saga

    async def execute(self, statement: TextClause, **parameters: Any) -> CursorResult[Any]:
        result = await super().execute(statement, **parameters)
        await self.saga.open()
        return result


@pytest.mark.parametrize("wish", [None, CANCELLED])
async def test_an_order_opened_between_two_statements_of_the_decision_is_no_damage(
    world: World, saga: SagaByHand, wish: Refusal | None
) -> None:
    route = await world.customer_route(saga.order.customer_id)
    with pytest.raises(TryAgain):
        async with world.transaction(route) as tx:
            await decision.decide(OpeningBetweenTwoStatements(tx, saga), saga.order.order_id, wish)
    assert await world.state_of(saga.order) == "pending"


async def test_whenever_the_abort_comes_no_payment_stays_held(world: World) -> None:
    customer_id = await world.customer("1000.00")
    for _ in range(10):
        saga = await world.saga(world.order(customer_id, {"a": 10}))
        await asyncio.gather(saga.open(), saga.decide(CANCELLED), return_exceptions=True)
        assert (await saga.decide(CANCELLED)).refusal == CANCELLED
        await saga.abort(CANCELLED)
        await saga.open()
        assert await world.money_of(customer_id) == (100000, 0)


# ── closing ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("refusal", "state"), [(CANCELLED, "cancelled"), (NO_STOCK, "rejected")])
async def test_an_abort_gives_the_money_back_once(world: World, saga: SagaByHand, refusal: Refusal, state: str) -> None:
    await saga.open()
    await saga.decide(refusal)
    await asyncio.gather(*(saga.abort(refusal) for _ in range(4)))
    await saga.abort(refusal)
    assert await world.state_of(saga.order) == state
    assert await world.money_of(saga.order.customer_id) == (10000, 0)
    assert await hold_of(saga) == [(1000, "released")]
    assert await saga.decide() == Decision(SagaOutcome.ABORTING, refusal, Money(1000, "USD"))


async def test_an_abort_after_confirmed_raises_and_changes_nothing(world: World, saga: SagaByHand) -> None:
    await saga.open()
    await saga.decide()
    with pytest.raises(ApplicationError, match="only an aborting order") as failure:
        await saga.abort(CANCELLED)
    assert failure.value.non_retryable
    assert await world.state_of(saga.order) == "confirmed"
    assert await world.money_of(saga.order.customer_id) == (9000, 0)
    assert await saga.open() is None


async def test_an_abort_before_the_decision_raises_and_changes_nothing(world: World, saga: SagaByHand) -> None:
    await saga.open()
    with pytest.raises(ApplicationError, match="only an aborting order"):
        await saga.abort(CANCELLED)
    assert await world.money_of(saga.order.customer_id) == (10000, 1000)
    assert (await saga.decide()).is_confirmed


# ── the id ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_two_orders_of_one_id_at_once_one_has_it_for_ever(world: World) -> None:
    one = world.order(await world.customer(), {"a": 1})
    other = Order(one.order_id, one.customer_id, "USD", (OrderLine("a", 2, Money(100, "USD")),))
    answers = await asyncio.gather(*(world.orders.claim_order_id(order) for order in (one, other) * 3))
    won = [answer for answer in answers if answer.refusal is None]
    assert len(won) == 3
    assert {answer.refusal.reason for answer in answers if answer.refusal} == {Reason.ID_CONFLICT}
    assert len({tuple(answer.stock[0].quantities.items()) for answer in won}) == 1


async def test_why_an_order_without_a_row_was_refused_is_kept_beside_its_id(world: World) -> None:
    order = unopened(world, "nobody")
    await world.saga(order)
    for refusal in (NO_STOCK, CANCELLED):
        await world.orders.refuse_order_id(RefuseOrderId(order, refusal))
    other_customers = Order(order.order_id, "somebody-else", "USD", order.lines)
    await world.orders.refuse_order_id(RefuseOrderId(other_customers, CANCELLED))
    route = (await world.router.map()).of_order_id(order.order_id)
    async with world.transaction(route) as tx:
        assert (await order_lookup.read(tx, [order.order_id]))[order.order_id].refusal == NO_STOCK


async def test_no_invariant_is_violated_in_the_end(world: World) -> None:
    assert await world.violations() == []
