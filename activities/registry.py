"""Which class implements which activities, and which task queue offers them. Workers register what is listed here.

An activity is declared once, by its method in `activities.interfaces`. `domain.steps` and `domain.choreography` declare
which service runs a step of an order, and that service's queue offers it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activities.choreography import ShardedChoreographyActivities
from activities.in_doubt import ShardedInDoubtActivities
from activities.interfaces import (
    ChoreographyActivities,
    InDoubtActivities,
    OrderActivities,
    PaymentActivities,
    ReadModelActivities,
    RelayActivities,
    StockActivities,
    TransferActivities,
    TransferBatchActivities,
    TwoPhaseActivities,
)
from activities.orders import ShardedOrderActivities
from activities.payments import ShardedPaymentActivities
from activities.read_model import ShardedReadModelActivities
from activities.relay import ShardedRelayActivities
from activities.stock import ShardedStockActivities
from activities.transfer_batches import ShardedTransferBatchActivities
from activities.transfers import ShardedTransferActivities
from activities.two_phase import ShardedTwoPhaseActivities
from domain.choreography import Service, steps_at
from shards.routing.router import Router

Activity = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Wiring:
    """What implementations need. `outbox_keep_seconds`: how long events are kept after all consumers took them."""

    router: Router
    outbox_keep_seconds: float


IMPLEMENTATIONS: Mapping[type, Callable[[Wiring], object]] = {
    OrderActivities: lambda wiring: ShardedOrderActivities(wiring.router),
    ChoreographyActivities: lambda wiring: ShardedChoreographyActivities(wiring.router),
    StockActivities: lambda wiring: ShardedStockActivities(wiring.router),
    PaymentActivities: lambda wiring: ShardedPaymentActivities(wiring.router),
    TransferActivities: lambda wiring: ShardedTransferActivities(wiring.router),
    TransferBatchActivities: lambda wiring: ShardedTransferBatchActivities(wiring.router),
    TwoPhaseActivities: lambda wiring: ShardedTwoPhaseActivities(wiring.router),
    InDoubtActivities: lambda wiring: ShardedInDoubtActivities(wiring.router),
    RelayActivities: lambda wiring: ShardedRelayActivities(wiring.router, wiring.outbox_keep_seconds),
    ReadModelActivities: lambda wiring: ShardedReadModelActivities(wiring.router),
}
OF_ORDERS = (OrderActivities, ChoreographyActivities, StockActivities, PaymentActivities)
OF_TRANSFERS = (TransferActivities, TwoPhaseActivities, InDoubtActivities, TransferBatchActivities)
OF_OUTBOX = (RelayActivities, ReadModelActivities)


def names_of(interface: type) -> list[str]:
    """The names of the activities that it declares."""
    return sorted(getattr(interface, "__abstractmethods__", ()))


def activities_of(interfaces: Iterable[type], wiring: Wiring) -> Sequence[Activity]:
    """The implementation of every activity of these interfaces."""
    made = [(IMPLEMENTATIONS[interface](wiring), interface) for interface in interfaces]
    return [getattr(implementation, name) for implementation, interface in made for name in names_of(interface)]


def activities_at(service: Service, wiring: Wiring) -> Sequence[Activity]:
    """The steps of orders that run on this service's queue."""
    steps = steps_at(service)
    return [each for each in activities_of(OF_ORDERS, wiring) if each.__name__ in steps]
