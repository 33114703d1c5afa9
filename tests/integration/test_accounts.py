"""Accounts and the ledger: what the database itself refuses, and what no order of calls can break."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from temporalio.exceptions import ApplicationError

from domain.identifiers import clearing_account_id
from domain.limits import AMOUNT_MINOR_UNITS_MAX
from domain.money import Money
from domain.orders import Order, OrderLine
from domain.sagas import Reason, Refusal, SagaOutcome
from shards.accounts import holds
from shards.connections.database_errors import IntegrityViolation
from tests.support.world import SagaByHand, World

CANCELLED = Refusal(Reason.CANCELLED, "somebody changed their mind")

_movements = (f"test/{n}" for n in itertools.count())


async def sql(world: World, shard: str, *statements: str) -> None:
    """All in one transaction."""
    async with world.cluster.primaries[shard].transaction() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)


@pytest.fixture
async def paid_in(world: World) -> tuple[str, str]:
    """A customer with 100.00, and the shard."""
    customer_id = await world.customer("100.00")
    return customer_id, (await world.customer_route(customer_id)).shard


# ── what cannot be stored ───────────────────────────────────────────────────────────────────────────────────


def one_sided(customer_id: str) -> list[str]:
    saga_id = next(_movements)
    return [
        f"INSERT INTO movement (saga_id, kind, currency) VALUES ('{saga_id}', 'opening', 'USD')",
        f"""INSERT INTO entry SELECT id, 1, '{customer_id}', 'USD', 5 FROM movement WHERE saga_id = '{saga_id}'""",
    ]


ENTRIES_OF = "movement_id = (SELECT id FROM movement WHERE saga_id = 'opening/{0}')"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET amount = amount + 1 WHERE n = 1 AND " + ENTRIES_OF,
        "DELETE FROM entry WHERE n = 1 AND " + ENTRIES_OF,
        "INSERT INTO entry SELECT movement_id, 3, '{0}', 'USD', 1 FROM entry WHERE n = 1 AND " + ENTRIES_OF,
    ],
)
async def test_a_movement_that_does_not_sum_to_zero_fails_at_commit(
    world: World, paid_in: tuple[str, str], statement: str
) -> None:
    customer_id, shard = paid_in
    with pytest.raises(IntegrityError, match="does not sum to zero"):
        await sql(world, shard, statement.format(customer_id))
    with pytest.raises(IntegrityError, match="does not sum to zero"):
        await sql(world, shard, *one_sided(customer_id))
    assert await world.money_of(customer_id) == (10000, 0)


async def test_an_entry_cannot_be_moved_out_of_its_movement(world: World, paid_in: tuple[str, str]) -> None:
    customer_id, shard = paid_in
    saga_id = next(_movements)
    balanced_there = [
        f"INSERT INTO movement (saga_id, kind, currency) VALUES ('{saga_id}', 'opening', 'USD')",
        f"UPDATE entry SET movement_id = (SELECT id FROM movement WHERE saga_id = '{saga_id}') WHERE n = 2 AND "
        + ENTRIES_OF.format(customer_id),
        f"INSERT INTO entry SELECT id, 1, 'equity/USD', 'USD', -10000 FROM movement WHERE saga_id = '{saga_id}'",
    ]
    with pytest.raises(IntegrityError, match="does not sum to zero"):
        await sql(world, shard, *balanced_there)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET currency = 'EUR' WHERE account_id = '{0}'",
        "UPDATE movement SET currency = 'EUR' WHERE saga_id = 'opening/{0}'",
        "UPDATE account SET currency = 'EUR' WHERE id = '{0}'",
        "INSERT INTO entry SELECT movement_id, 3, '{0}', 'EUR', 1 FROM entry WHERE n = 1 AND " + ENTRIES_OF,
    ],
)
async def test_currencies_cannot_be_mixed(world: World, paid_in: tuple[str, str], statement: str) -> None:
    customer_id, shard = paid_in
    with pytest.raises(IntegrityError, match="foreign key"):
        await sql(world, shard, statement.format(customer_id))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE account SET held = posted + 1 WHERE id = '{0}'",
        "UPDATE account SET posted = held - 1 WHERE id = '{0}'",
        "UPDATE account SET held = -1 WHERE id = '{0}'",
        "UPDATE account SET overdraft = -1 WHERE id = '{0}'",
        "UPDATE account SET posted = NULL WHERE id = '{0}'",
        "UPDATE account SET posted = 0 WHERE kind = 'equity'",
        "INSERT INTO hold VALUES ('test', 'x', '{0}', 0, 'placed')",
        "INSERT INTO hold VALUES ('test', 'x', 'nobody', 1, 'placed')",
    ],
)
async def test_a_wrong_balance_cannot_be_stored(world: World, paid_in: tuple[str, str], statement: str) -> None:
    customer_id, shard = paid_in
    with pytest.raises(IntegrityError):
        await sql(world, shard, statement.format(customer_id))
    assert await world.money_of(customer_id) == (10000, 0)


# ── what cannot be done ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def confirmed(world: World) -> SagaByHand:
    saga = await world.saga(world.order(await world.customer("100.00"), {"a": 10}))
    await saga.open()
    await saga.decide()
    return saga


async def test_a_hold_is_captured_once(world: World, confirmed: SagaByHand) -> None:
    route = await world.customer_route(confirmed.order.customer_id)
    with pytest.raises(IntegrityViolation):
        async with world.transaction(route) as tx:
            await holds.capture_hold(tx, confirmed.saga_id, "open_order", confirmed.total, "peer")
    async with world.transaction(route) as tx:
        assert await holds.release_hold(tx, confirmed.saga_id, "open_order") is None
    # Even with a hold to spare, the ledger takes one capture of a saga.
    await world.rows(route.shard, "UPDATE hold SET state = 'placed' WHERE saga_id = :s", s=confirmed.saga_id)
    with pytest.raises(IntegrityViolation, match="movement_saga_id_kind_key"):
        async with world.transaction(route) as tx:
            await holds.capture_hold(tx, confirmed.saga_id, "open_order", confirmed.total, "peer")
    await world.rows(route.shard, "UPDATE hold SET state = 'captured' WHERE saga_id = :s", s=confirmed.saga_id)
    assert await world.money_of(confirmed.order.customer_id) == (9000, 0)


async def test_a_hold_of_another_amount_is_damage(world: World) -> None:
    saga = await world.saga(world.order(await world.customer("100.00"), {"a": 10}))
    await saga.open()
    route = await world.customer_route(saga.order.customer_id)
    with pytest.raises(IntegrityViolation):
        async with world.transaction(route) as tx:
            await holds.capture_hold(tx, saga.saga_id, "open_order", Money(999, "USD"), "peer")
    assert await world.money_of(saga.order.customer_id) == (10000, 1000)


async def test_the_merchant_is_credited_once_however_often_it_is_called(world: World, confirmed: SagaByHand) -> None:
    before = (await world.money_of(confirmed.merchant))[0]
    await asyncio.gather(*(confirmed.credit() for _ in range(6)))
    await confirmed.credit()
    assert (await world.money_of(confirmed.merchant))[0] == before + 1000
    legs = await world.everywhere("SELECT role, amount FROM clearing_leg WHERE saga_id = :s", s=confirmed.saga_id)
    assert sorted(legs) == [("first", 1000), ("second", -1000)]


async def test_a_frozen_merchant_still_accepts(world: World, confirmed: SagaByHand) -> None:
    await world.everywhere("UPDATE account SET state = 'frozen' WHERE id = :id", id=confirmed.merchant)
    before = (await world.money_of(confirmed.merchant))[0]
    await confirmed.credit()
    assert (await world.money_of(confirmed.merchant))[0] == before + 1000
    await world.everywhere("UPDATE account SET state = 'open' WHERE id = :id", id=confirmed.merchant)


async def test_many_orders_of_one_customer_at_once_spend_no_more_than_there_is(world: World) -> None:
    customer_id = await world.customer("10.00")
    sagas = [await world.saga(world.order(customer_id, {"a": 3})) for _ in range(12)]
    refusals = await asyncio.gather(*(saga.open() for saga in sagas))
    assert refusals.count(None) == 3
    assert await world.money_of(customer_id) == (1000, 900)
    decisions = await asyncio.gather(
        *(saga.decide(CANCELLED if refusal else None) for saga, refusal in zip(sagas, refusals, strict=True))
    )
    assert sum(decision.is_confirmed for decision in decisions) == 3
    assert await world.money_of(customer_id) == (100, 0)


async def test_an_overdraft_is_used_to_its_last_cent(world: World) -> None:
    customer_id = await world.customer("1.00")
    await world.everywhere("UPDATE account SET overdraft = 400 WHERE id = :id", id=customer_id)
    all_of_it, one_more = [await world.saga(world.order(customer_id, {"a": n})) for n in (5, 1)]
    assert await all_of_it.open() is None
    refusal = await one_more.open()
    assert refusal is not None
    assert refusal.reason is Reason.INSUFFICIENT_FUNDS
    await all_of_it.decide()
    assert await world.money_of(customer_id) == (-400, 0)


# ── any calls in any order ──────────────────────────────────────────────────────────────────────────────────

CALLS = ("open", "reserve", "decide", "decide_abort", "release", "abort", "consume", "credit")
# Not the workflow's order, so some calls are refused as wrong: that is an answer, not a change.
REFUSED_AS = ("integrity_violation", "try_again")


@st.composite
def stories(draw: st.DrawFn) -> dict[str, Any]:
    """Three orders of two customers on two goods; calls in any order, in bursts of up to three at once."""
    amounts = st.sampled_from([0, 1, 99, 100, 101, 5000, AMOUNT_MINOR_UNITS_MAX])
    order = st.fixed_dictionaries(
        {
            "customer": st.integers(0, 1),
            "quantities": st.lists(st.integers(0, 3), min_size=2, max_size=2).filter(any),
            "price": amounts,
        }
    )
    orders = draw(st.lists(order, min_size=1, max_size=3))
    call = st.tuples(st.integers(0, len(orders) - 1), st.sampled_from(CALLS))
    return {
        "balances": draw(st.lists(amounts, min_size=2, max_size=2)),
        "overdraft": draw(st.sampled_from([0, 0, 1, 1000])),
        "stock": draw(st.lists(st.integers(1, 4), min_size=2, max_size=2)),
        "orders": orders,
        "bursts": draw(st.lists(st.lists(call, min_size=1, max_size=3), min_size=3, max_size=12)),
    }


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
)
@given(story=stories())
async def test_no_order_of_calls_breaks_the_books(world: World, story: dict[str, Any]) -> None:
    customers = [await world.customer(Money(balance, "USD").amount) for balance in story["balances"]]
    await world.everywhere(
        "UPDATE account SET overdraft = :overdraft WHERE id = :id", overdraft=story["overdraft"], id=customers[0]
    )
    goods = [await world.product(near, stock) for near, stock in zip("az", story["stock"], strict=True)]
    sagas = [await _saga(world, customers, goods, order) for order in story["orders"]]
    for burst in story["bursts"]:
        await asyncio.gather(*(_call(sagas[number], name) for number, name in burst))
    assert await world.violations() == []

    for saga in sagas:
        await _finish(saga)
    assert await world.violations() == []
    confirmed = [saga for saga in sagas if await world.state_of(saga.order) == "confirmed"]
    for name, balance in zip(customers, story["balances"], strict=True):
        paid = sum(saga.total.minor for saga in confirmed if saga.order.customer_id == name)
        assert await world.money_of(name) == (balance - paid, 0)
    for sku in goods:
        assert (await world.goods_of(sku))[1] == 0
    legs = "SELECT saga_id FROM clearing_leg WHERE saga_id = ANY(:sagas) AND role = :role"
    ids = [saga.saga_id for saga in sagas]
    first, second = [await world.everywhere(legs, sagas=ids, role=role) for role in ("first", "second")]
    assert sorted(first) == sorted(second)


async def _saga(world: World, customers: list[str], goods: list[str], order: dict[str, Any]) -> SagaByHand:
    price = Money(order["price"], "USD")
    quantities = {sku: n for sku, n in zip(goods, order["quantities"], strict=True) if n}
    asked = world.order(customers[order["customer"]], quantities)
    lines = tuple(OrderLine(sku, quantity, price) for sku, quantity in quantities.items())
    if price.minor * sum(quantities.values()) > AMOUNT_MINOR_UNITS_MAX:
        lines = (OrderLine(lines[0].sku, 1, price),)
    return await world.saga(Order(asked.order_id, asked.customer_id, "USD", lines))


async def _call(saga: SagaByHand, name: str) -> None:
    """Steps that only go forward are called as the workflow calls them: after the decision."""
    shares = range(len(saga.shares))
    try:
        match name:
            case "open":
                await saga.open()
            case "reserve":
                await asyncio.gather(*(saga.reserve(share) for share in shares))
            case "decide":
                refusals = [await saga.open(), *[await saga.reserve(share) for share in shares]]
                if not any(refusals):
                    await saga.decide()
            case "decide_abort":
                await saga.decide(CANCELLED)
            case "release" | "abort":
                if not (await saga.decide(CANCELLED)).is_confirmed:
                    await (saga.abort(CANCELLED) if name == "abort" else saga.release(shares[-1]))
            case "consume" | "credit":
                if await saga.world.state_of(saga.order) == "confirmed":
                    if name == "consume":
                        await saga.consume(0)
                    elif saga.total.minor:
                        await saga.credit()
    except ApplicationError as error:
        if error.type not in REFUSED_AS:
            raise


async def _finish(saga: SagaByHand) -> None:
    """What the workflow does in the end, whatever happened before."""
    decision = await saga.decide(CANCELLED)
    if decision.outcome is SagaOutcome.CONFIRMED:
        for share in range(len(saga.shares)):
            await saga.consume(share)
        if saga.total.minor:
            await saga.credit()
    else:
        assert decision.refusal is not None
        await saga.undo_all(decision.refusal)


async def test_clearing_of_all_shards_is_what_is_in_flight(world: World) -> None:
    clearing = "SELECT coalesce(sum(amount), 0) FROM entry WHERE account_id = :id"
    found = await world.everywhere(clearing, id=clearing_account_id("USD"))
    in_flight = "SELECT coalesce(sum(amount), 0) FROM clearing_leg WHERE currency = 'USD'"
    assert sum(row[0] for row in found) == sum(row[0] for row in await world.everywhere(in_flight))
    assert await world.violations() == []
