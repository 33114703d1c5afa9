"""What workflows call by the interface's name is what the worker registers. Temporal takes the name of an activity
from the method it is given, so an implementation that forgets `@activity.defn` is never found."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast

import pytest

from activities import interfaces
from activities.registry import IMPLEMENTATIONS, OF_ORDERS, OF_TRANSFERS, Wiring, activities_at, names_of
from domain.choreography import Reactor, Service
from domain.steps import Step
from shards.routing.router import Router
from tests.support.places import assert_says_all
from tests.workflow import bank, fakes
from workers.run import HOSTED
from workflows.orders.choreography import REACTORS

NOTHING = Wiring(cast(Router, None), 0.0)
METHODS = [(interface, name) for interface in IMPLEMENTATIONS for name in names_of(interface)]
# Not of one order or transfer.
ELSEWHERE = {interfaces.InDoubtActivities, interfaces.TransferBatchActivities}


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
    own = vars(type(IMPLEMENTATIONS[interface](NOTHING)))[method]
    assert activity_name(own) == name


def test_the_workers_register_every_method_of_every_interface() -> None:
    registered = [activity_name(method) for hosted in HOSTED.values() for method in hosted.activities(NOTHING)]
    assert set(map(str, registered)) == {method for _, method in METHODS}


def test_every_activity_of_a_saga_is_a_declared_step_and_every_declared_step_an_activity() -> None:
    of_sagas = [interface for interface in (*OF_ORDERS, *OF_TRANSFERS) if interface not in ELSEWHERE]
    assert_says_all("activities/interfaces", Step, names(of_sagas))


def test_the_fakes_of_the_workflows_tests_have_every_activity_of_an_order_and_of_a_transfer() -> None:
    """One that lacks a method cannot be made, and Python says which."""
    assert_says_all("tests/workflow/fakes.py", names(OF_ORDERS), map(activity_name, fakes.activities_of({})))
    of_transfers = [interface for interface in OF_TRANSFERS if interface not in ELSEWHERE]
    assert_says_all("tests/workflow/bank.py", names(of_transfers), map(activity_name, bank.activities_of({})))


def names(of: Iterable[type]) -> list[str]:
    return [name for interface in of for name in names_of(interface)]


def test_each_queue_offers_the_steps_that_are_walked_on_it_and_no_others() -> None:
    """What a service's reactors call is read from their code: a step that is missing in `Reactor` is not found."""
    for service in Service:
        offered = {each.__name__ for each in activities_at(service, NOTHING)}
        called = {
            name for reactor in Reactor if reactor.service is service for name in steps_called_by(REACTORS[reactor])
        }
        assert called <= offered
        if service is not Service.ORDERS:
            assert called == offered


@pytest.mark.parametrize("reactor", Reactor)
def test_a_reactor_declares_the_steps_that_it_calls(reactor: Reactor) -> None:
    assert_says_all(f"{reactor} in domain/choreography.py", steps_called_by(REACTORS[reactor]), reactor.steps)


def steps_called_by(workflow: type) -> set[str]:
    source = inspect.getsource(workflow)
    return {str(step) for step in Step if f"Activities.{step}" in source}
