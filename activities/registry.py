"""Which class carries out which activities, and which task queue offers them. A worker registers what stands here.

An activity is declared by its method in `activities.interfaces` and nowhere again: a step of an order is offered where
`domain.steps` and `domain.choreography` say that it is walked.
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
    """What implementations are made of. `outbox_keep_seconds`: how long events are kept that everybody has taken."""

    router: Router
    outbox_keep_seconds: float


IMPLEMENTATIONS: Mapping[type, Callable[[Wiring], object]] = {
    OrderActivities: lambda to: ShardedOrderActivities(to.router),
    ChoreographyActivities: lambda to: ShardedChoreographyActivities(to.router),
    StockActivities: lambda to: ShardedStockActivities(to.router),
    PaymentActivities: lambda to: ShardedPaymentActivities(to.router),
    TransferActivities: lambda to: ShardedTransferActivities(to.router),
    TransferBatchActivities: lambda to: ShardedTransferBatchActivities(to.router),
    TwoPhaseActivities: lambda to: ShardedTwoPhaseActivities(to.router),
    InDoubtActivities: lambda to: ShardedInDoubtActivities(to.router),
    RelayActivities: lambda to: ShardedRelayActivities(to.router, to.outbox_keep_seconds),
    ReadModelActivities: lambda to: ShardedReadModelActivities(to.router),
}
OF_ORDERS = (OrderActivities, ChoreographyActivities, StockActivities, PaymentActivities)
OF_TRANSFERS = (TransferActivities, TwoPhaseActivities, InDoubtActivities, TransferBatchActivities)
OF_OUTBOX = (RelayActivities, ReadModelActivities)


def names_of(interface: type) -> list[str]:
    """Of the activities that it declares."""
    return sorted(getattr(interface, "__abstractmethods__", ()))


def activities_of(interfaces: Iterable[type], wiring: Wiring) -> Sequence[Activity]:
    """Every activity of these interfaces, as it is carried out."""
    made = [(IMPLEMENTATIONS[interface](wiring), interface) for interface in interfaces]
    return [getattr(implementation, name) for implementation, interface in made for name in names_of(interface)]


def activities_at(service: Service, wiring: Wiring) -> Sequence[Activity]:
    """The steps of orders that are walked on this service's queue."""
    steps = steps_at(service)
    return [each for each in activities_of(OF_ORDERS, wiring) if each.__name__ in steps]
