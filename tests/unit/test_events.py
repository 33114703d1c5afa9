"""Each kind of event is one aggregate's, and the read model follows what it has rows of."""

from __future__ import annotations

import pytest

from domain.choreography import EventKind, Reactor
from domain.events import (
    AGGREGATES,
    PROJECTED,
    Aggregate,
    StockEvent,
    TransferEvent,
    aggregate_of,
    is_projected,
    reactors_to,
)
from shards.projection.reading import DOCUMENTS


@pytest.mark.parametrize("kind", AGGREGATES)
def test_a_kind_of_event_is_of_one_aggregate(kind: type) -> None:
    assert {aggregate_of(event) for event in kind} == {AGGREGATES[kind]}


def test_every_aggregate_has_an_event() -> None:
    assert sorted(AGGREGATES.values()) == sorted(Aggregate)


def test_the_same_name_of_two_aggregates_is_two_kinds() -> None:
    assert (aggregate_of(StockEvent.RESERVED), aggregate_of(EventKind.STOCK_RESERVED)) == ("stock", "order")
    assert (reactors_to(StockEvent.RESERVED), reactors_to(EventKind.STOCK_RESERVED)) == ((), (Reactor.HOLD_PAYMENT,))


def test_the_read_model_has_a_document_of_each_aggregate_that_it_follows() -> None:
    assert set(DOCUMENTS) == set(PROJECTED)
    assert not is_projected(TransferEvent.CONFIRMED)
