"""What the Temporal UI shows of an order, a reactor and a transfer: details that name the reason, watchdogs, the saga.

None of it may cost an event: `test_replaying.py` counts them.
"""

from __future__ import annotations

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter

from domain.choreography import EventKind, Reactor
from domain.money import Money
from domain.orders import OrderLine, OrderState
from domain.sagas import ALREADY_COMPENSATED, Reason
from domain.transfers import ProtocolChoice
from tests.support.metadata import current_details
from tests.workflow.choreography_driver import CONFIRMED, ChoreographyDriver
from tests.workflow.fakes import ShopInMemory
from tests.workflow.faults import Outage
from tests.workflow.modes import OTHERS
from tests.workflow.order_driver import OrderDriver, events, until
from tests.workflow.test_cancelling import HOUR, window_open
from tests.workflow.test_stuck import make_beets_scarce
from tests.workflow.transfer_driver import TWO_PHASE, TransferDriver
from workflows.interfaces import Reacted, Reaction
from workflows.orders.saga import OrderSaga
from workflows.visibility import SAGA

USD = "USD"


# ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("mode", OTHERS, ids=str)
async def test_a_refused_order_says_why(orders: OrderDriver, shop: ShopInMemory) -> None:
    make_beets_scarce(shop)
    handle = await orders.place()
    await handle.result()
    assert await current_details(handle) == "rejected: out_of_stock, not enough of beet on the shelf"


async def test_a_confirmed_order_says_what_it_took(orders: OrderDriver) -> None:
    handle = await orders.place()
    await handle.result()
    assert await current_details(handle) == "confirmed: 11.00 USD captured, stock consumed on shard-a, shard-b"


async def test_a_cancelled_order_says_so_once_and_its_total_while_it_waited(orders: OrderDriver) -> None:
    handle = await orders.place((OrderLine("apple", 2),), window_seconds=HOUR)
    await window_open(handle)
    assert await current_details(handle) == "pending: 10.00 USD"
    await handle.execute_update(OrderSaga.cancel)
    await handle.result()
    assert await current_details(handle) == "cancelled: cancelled before it was confirmed"


async def test_an_order_under_another_ones_id_says_that_nothing_was_begun(orders: OrderDriver) -> None:
    await (await orders.place()).result()
    again = await orders.place((OrderLine("apple", 1, Money(5_00, USD)),))
    await again.result()
    assert await current_details(again) == "rejected: id_conflict, the id names another order"


async def test_a_stuck_step_is_shown_behind_what_is_known_and_its_alarm_reads_as_a_watchdog(
    orders: OrderDriver, shop: ShopInMemory
) -> None:
    outage = Outage()
    shop.inject("reserve_stock/b", outage)
    handle = await orders.place(stuck_after_seconds=30)
    await orders.fails_durably("reserve_stock/b")
    await orders.env.sleep(60)
    assert await current_details(handle) == "pending: 11.00 USD\n\n* stuck: reserve on shard-b: 1 x beet"
    assert await timers(handle) == ["watchdog, alarm if not done: reserve on shard-b: 1 x beet"]
    outage.over()
    await handle.result()
    assert (await current_details(handle)).startswith("confirmed: ")


async def timers(handle: WorkflowHandle[OrderSaga, object]) -> list[str]:
    started = await events(handle, EventType.EVENT_TYPE_TIMER_STARTED)
    converter = pydantic_data_converter.payload_converter
    return [converter.from_payload(event.user_metadata.summary, str) for event in started]


async def test_an_order_that_another_client_started_without_its_saga_gets_it_with_its_status(
    orders: OrderDriver,
) -> None:
    handle = await orders.place()
    assert (await handle.describe()).typed_search_attributes.get(SAGA) is None
    await handle.result()
    upserts = await events(handle, EventType.EVENT_TYPE_UPSERT_WORKFLOW_SEARCH_ATTRIBUTES)
    upserted = [event.upsert_workflow_search_attributes_event_attributes.search_attributes for event in upserts]
    assert sum(bool({"Saga", "OrderStatus"} & set(each.indexed_fields)) for each in upserted) == 1
    assert (await handle.describe()).typed_search_attributes.get(SAGA) == f"order/{orders.order_id}"


# ── reactors ────────────────────────────────────────────────────────────────────────────────────────────────


async def outcomes(choreography: ChoreographyDriver) -> dict[Reactor, tuple[Reacted, str]]:
    """The result and the details of every reactor of the order."""
    found = {}
    for handle in choreography.started[1:]:
        reactor = Reactor(handle.id.partition("/")[0])
        answer = await choreography.env.client.get_workflow_handle(handle.id, result_type=Reaction).result()
        found[reactor] = (answer.outcome, await current_details(handle))
    return found


async def test_the_reactors_of_a_good_order_return_what_they_did(choreography: ChoreographyDriver) -> None:
    await choreography.place()
    await choreography.play()
    assert choreography.kinds() == CONFIRMED
    goods = "on shard-a: 2 x apple; on shard-b: 1 x beet"
    assert await outcomes(choreography) == {
        Reactor.RESERVE_STOCK: (Reacted.STOCK_RESERVED, f"stock reserved: {goods}"),
        Reactor.HOLD_PAYMENT: (Reacted.PAYMENT_HELD, "payment held: 11.00 USD on account ada"),
        Reactor.CONFIRM_ORDER: (Reacted.CONFIRMED, "confirmed: 11.00 USD captured"),
        Reactor.SHIP_ORDER: (Reacted.STOCK_CONSUMED, f"stock consumed: {goods}"),
        Reactor.CREDIT_MERCHANT: (Reacted.MERCHANT_CREDITED, "merchant credited: 11.00 USD"),
    }
    placed = await current_details(choreography.started[0])
    assert placed == f"placed: 11.00 USD, carried out by the other workflows of its Saga, order/{choreography.order_id}"


async def test_the_reactors_of_a_refused_order_return_why(choreography: ChoreographyDriver, shop: ShopInMemory) -> None:
    make_beets_scarce(shop)
    await choreography.place()
    await choreography.play()
    why = "out_of_stock, not enough of beet on the shelf"
    assert await outcomes(choreography) == {
        Reactor.RESERVE_STOCK: (Reacted.STOCK_REFUSED, f"stock refused: {why}"),
        Reactor.ABORT_ORDER: (Reacted.ABORTING, f"aborting: {why}"),
        Reactor.RELEASE_STOCK: (Reacted.STOCK_RELEASED, "stock released: on shard-a: 2 x apple; on shard-b: 1 x beet"),
        Reactor.CLOSE_ORDER: (Reacted.REJECTED, f"rejected: {why}"),
    }


async def test_a_refused_payment_is_returned_with_its_reason(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    shop.balances["ada"] = 0
    shop.__post_init__()
    await choreography.place()
    await choreography.play()
    assert (await outcomes(choreography))[Reactor.HOLD_PAYMENT] == (
        Reacted.PAYMENT_REFUSED,
        "payment refused: insufficient_funds, not enough money",
    )


async def test_a_reactor_whose_order_went_on_without_it_does_nothing(
    choreography: ChoreographyDriver, shop: ShopInMemory
) -> None:
    await choreography.place()
    await choreography.play(until=EventKind.STOCK_RESERVED)
    choreography.shop.rows[choreography.order_id].state = OrderState.ABORTING
    paying = await choreography.start(Reactor.HOLD_PAYMENT, choreography.event(EventKind.STOCK_RESERVED))
    answer = await choreography.env.client.get_workflow_handle(paying.id, result_type=Reaction).result()
    assert answer == Reaction(Reacted.PASSED_OVER, ALREADY_COMPENSATED)


async def test_a_placement_that_is_refused_says_why(choreography: ChoreographyDriver) -> None:
    await choreography.place(customer_id="nobody")
    assert await current_details(choreography.started[0]) == "rejected: unknown_customer, there is no customer nobody"


# ── transfers ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("protocol", "target", "details"),
    [
        (ProtocolChoice.AUTO, "amy", "settled: 10.00 USD from ada on shard-1 to amy on shard-1, by local"),
        (ProtocolChoice.SAGA, "bob", "settled: 10.00 USD from ada on shard-1 to bob on shard-2, by saga"),
        (ProtocolChoice.TWO_PHASE, "bob", "settled: 10.00 USD from ada on shard-1 to bob on shard-2, by 2pc"),
        (ProtocolChoice.LOCAL, "bob", "declined: not_local, two shards"),
    ],
)
async def test_a_transfer_says_how_it_ended(
    transfers: TransferDriver, protocol: ProtocolChoice, target: str, details: str
) -> None:
    handle = await transfers.send(protocol, target)
    await handle.result()
    assert await current_details(handle) == details
    assert (await handle.describe()).typed_search_attributes.get(SAGA) == transfers.transfer().saga_id


@pytest.mark.parametrize("protocol", [ProtocolChoice.SAGA, TWO_PHASE])
async def test_a_declined_transfer_says_why(transfers: TransferDriver, protocol: ProtocolChoice) -> None:
    transfers.bank.frozen.add("bob")
    handle = await transfers.send(protocol)
    await handle.result()
    assert await current_details(handle) == f"declined: {Reason.ACCOUNT_NOT_OPEN}, frozen"


async def test_a_transfer_on_its_way_says_what_moves(transfers: TransferDriver) -> None:
    outage = Outage()
    transfers.bank.inject("credit", outage)
    handle = await transfers.send()
    await until(lambda: transfers.bank.calls.count("credit") > transfers.local_attempts)
    assert await current_details(handle) == "pending: 10.00 USD from ada on shard-1 to bob on shard-2, by saga"
    await transfers.env.sleep(60)
    pending = "pending: 10.00 USD from ada on shard-1 to bob on shard-2, by saga"
    assert await current_details(handle) == f"{pending}\n\n* stuck: credit bob with 10.00 USD on shard-2"
    outage.over()
    await handle.result()
