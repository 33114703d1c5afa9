"""What workflows call by the interface's name is what the worker registers. Temporal takes the name of an activity
from the method it is given, so an implementation that forgets `@activity.defn(name=...)` is never found."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

import pytest

from activities import interfaces
from activities.choreography import ShardedChoreographyActivities
from activities.in_doubt import ShardedInDoubtActivities
from activities.orders import ShardedOrderActivities
from activities.payments import ShardedPaymentActivities
from activities.read_model import ShardedReadModelActivities
from activities.relay import ShardedRelayActivities
from activities.stock import ShardedStockActivities
from activities.transfer_batches import ShardedTransferBatchActivities
from activities.transfers import ShardedTransferActivities
from activities.two_phase import ShardedTwoPhaseActivities
from shards.routing import Router
from stack.settings import Settings
from workers.run import HOSTED

IMPLEMENTATIONS: dict[type, type] = {
    interfaces.OrderActivities: ShardedOrderActivities,
    interfaces.ChoreographyActivities: ShardedChoreographyActivities,
    interfaces.StockActivities: ShardedStockActivities,
    interfaces.PaymentActivities: ShardedPaymentActivities,
    interfaces.TransferBatchActivities: ShardedTransferBatchActivities,
    interfaces.TransferActivities: ShardedTransferActivities,
    interfaces.TwoPhaseActivities: ShardedTwoPhaseActivities,
    interfaces.InDoubtActivities: ShardedInDoubtActivities,
    interfaces.RelayActivities: ShardedRelayActivities,
    interfaces.ReadModelActivities: ShardedReadModelActivities,
}
METHODS = [(interface, name) for interface in IMPLEMENTATIONS for name in sorted(interface.__abstractmethods__)]  # type: ignore[attr-defined]


def activity_name(method: Callable[..., Any]) -> str | None:
    definition = getattr(method, "__temporal_activity_definition", None)
    return cast("str | None", definition.name) if definition else None


def test_every_interface_has_an_implementation_here() -> None:
    declared = {value for value in vars(interfaces).values() if inspect.isclass(value) and inspect.isabstract(value)}
    assert declared == set(IMPLEMENTATIONS)


@pytest.mark.parametrize(("interface", "method"), METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_an_implementation_repeats_the_interfaces_name(interface: type, method: str) -> None:
    name = activity_name(getattr(interface, method))
    assert name == method
    own = vars(IMPLEMENTATIONS[interface])[method]
    assert activity_name(own) == name


def test_the_workers_register_every_method_of_every_interface() -> None:
    no_router = cast(Router, None)
    registered = [
        activity_name(method) for hosted in HOSTED.values() for method in hosted.activities(no_router, Settings())
    ]
    assert set(map(str, registered)) == {method for _, method in METHODS}
