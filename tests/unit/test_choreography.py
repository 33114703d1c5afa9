"""Events and their reactors: every event has its own, and every way through them ends."""

from __future__ import annotations

import pytest

from domain.choreography import (
    PLACEMENT_TYPE,
    REACTIONS,
    EventKind,
    Reactor,
    Service,
    placement_id,
    reactor_id,
    reactor_ids,
    saga_id_of,
)
from tests.support.places import assert_says_all
from workflows.orders.choreography import REACTORS

ENDS = {EventKind.ORDER_CONFIRMED, EventKind.ORDER_REJECTED, EventKind.ORDER_CANCELLED}
PROGRESS = {
    kind: number
    for number, kinds in enumerate(
        (
            {EventKind.ORDER_PLACED},
            {EventKind.STOCK_RESERVED, EventKind.STOCK_REFUSED},
            {EventKind.PAYMENT_HELD, EventKind.PAYMENT_REFUSED},
            {EventKind.ORDER_CONFIRMED, EventKind.ORDER_ABORTING},
            {EventKind.STOCK_RELEASED},
            {EventKind.ORDER_REJECTED, EventKind.ORDER_CANCELLED},
        )
    )
    for kind in kinds
}


@pytest.mark.parametrize("kind", EventKind)
def test_every_event_that_does_not_end_an_order_has_a_reactor_that_brings_the_next_one_about(kind: EventKind) -> None:
    next_kinds = {outcome for reactor in REACTIONS[kind] for outcome in reactor.publishes}
    assert bool(next_kinds) is (kind not in ENDS)


def test_every_event_has_its_reactions_and_every_reactor_its_workflow() -> None:
    assert_says_all("REACTIONS in domain/choreography.py", EventKind, REACTIONS)
    assert_says_all("REACTORS in workflows/orders/choreography.py", Reactor, REACTORS)


def test_every_reactor_is_set_off_by_some_event_and_has_a_service_and_a_name_of_its_own() -> None:
    assert {reactor for reactors in REACTIONS.values() for reactor in reactors} == set(Reactor)
    assert {reactor.service for reactor in Reactor} == set(Service)
    assert len({PLACEMENT_TYPE, *(reactor.workflow_type for reactor in Reactor)}) == len(Reactor) + 1
    assert Reactor.RESERVE_STOCK.workflow_type == "ReserveStock"


def test_from_its_first_event_an_order_can_reach_every_end_and_never_goes_back() -> None:
    reached = [EventKind.ORDER_PLACED]
    for kind in reached:
        following = {outcome for reactor in REACTIONS[kind] for outcome in reactor.publishes}
        assert all(PROGRESS[outcome] > PROGRESS[kind] for outcome in following)
        reached += sorted(following - set(reached))
    assert set(reached) == set(EventKind)


def test_ids_name_the_event_and_are_read_back() -> None:
    assert reactor_id(Reactor.HOLD_PAYMENT, "o-1", 2) == "hold-payment/o-1/2"
    assert reactor_ids("OrderConfirmed", "o-1", 4) == ("ship-order/o-1/4", "credit-merchant/o-1/4")
    assert reactor_ids("OrderRejected", "o-1", 4) == reactor_ids("SomethingNew", "o-1", 4) == ()
    for workflow_id in ("order/o-1", placement_id("o-1"), *reactor_ids("OrderConfirmed", "o-1", 4)):
        assert saga_id_of(workflow_id) == "order/o-1"
    assert saga_id_of("transfer/ada/t-1") == "transfer/ada/t-1"
