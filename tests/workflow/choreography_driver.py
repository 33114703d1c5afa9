"""A choreographed order on a choreography: its events start its reactors, one at a time, by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from temporalio.client import WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy
from temporalio.testing import WorkflowEnvironment

from activities.reactors import start_reactor
from domain.choreography import REACTIONS, EventKind, OrderEvent, Reactor, placement_id, reactor_id
from domain.orders import Order, OrderLine, OrderStatus, Style
from domain.sagas import Reason, SagaOptions
from tests.workflow.driving import Driver
from tests.workflow.fakes import ShopInMemory
from tests.workflow.modes import Mode
from tests.workflow.order_driver import TWO_APPLES_AND_A_BEET, USD
from workflows.interfaces import PlaceChoreographed, Placement
from workflows.orders.placement import PlaceChoreographedOrder

CONFIRMED = [EventKind.ORDER_PLACED, EventKind.STOCK_RESERVED, EventKind.PAYMENT_HELD, EventKind.ORDER_CONFIRMED]


class ChoreographyDriver(Driver):
    def __init__(self, env: WorkflowEnvironment, shop: ShopInMemory, mode: Mode, order_id: str) -> None:
        super().__init__(env, mode, shop)
        self.shop = shop
        self.order_id = order_id

    def request(
        self,
        lines: tuple[OrderLine, ...] = TWO_APPLES_AND_A_BEET,
        customer_id: str = "ada",
        window_seconds: float = 0,
        stuck_after_seconds: float = 30,
    ) -> PlaceChoreographed:
        order = Order(self.order_id, customer_id, USD, lines, style=Style.CHOREOGRAPHED)
        return PlaceChoreographed(order, SagaOptions(self.mode.mode, stuck_after_seconds), window_seconds)

    async def begin(self, request: PlaceChoreographed) -> WorkflowHandle[PlaceChoreographedOrder, Placement]:
        handle = await self.env.client.start_workflow(
            PlaceChoreographedOrder.run, request, id=placement_id(self.order_id), task_queue=str(self.mode)
        )
        self.started.append(handle)
        return handle

    async def place(self, **how: Any) -> Placement:
        return await (await self.begin(self.request(**how))).result()

    async def start(self, reactor: Reactor, event: OrderEvent) -> WorkflowHandle[Any, Any]:
        again = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        await start_reactor(self.env.client, reactor, event, "shard-1", again, task_queue=str(self.mode))
        handle = self.env.client.get_workflow_handle(reactor_id(reactor, event.order_id, event.version))
        self.started.append(handle)
        return handle

    async def react(self, event: OrderEvent) -> None:
        for reactor in REACTIONS[event.kind]:
            await (await self.start(reactor, event)).result()

    async def play(self, until: EventKind | None = None) -> None:
        """Every event in turn, those that reactors publish included; `until`: an event that is left to the test."""
        for event in self.shop.events:
            if event.kind is until:
                return
            await self.react(event)

    def kinds(self) -> list[EventKind]:
        return [event.kind for event in self.shop.events]

    def event(self, kind: EventKind) -> OrderEvent:
        return next(event for event in self.shop.events if event.kind is kind)

    def status(self) -> OrderStatus:
        return OrderStatus.of_state(self.shop.rows[self.order_id].state)

    def assert_confirmed(self) -> None:
        assert self.kinds() == CONFIRMED
        assert self.status() is OrderStatus.CONFIRMED
        assert self.shop.undone() == []
        self.shop.assert_whole()

    def assert_aborted(self, reason: Reason) -> None:
        row = self.shop.rows[self.order_id]
        assert row.refusal is not None
        assert row.refusal.reason is reason
        ended = EventKind.ORDER_CANCELLED if reason is Reason.CANCELLED else EventKind.ORDER_REJECTED
        assert self.kinds()[-3:] == [EventKind.ORDER_ABORTING, EventKind.STOCK_RELEASED, ended]
        assert sorted(self.shop.undone()) == ["abort_order", "release_stock/a", "release_stock/b"]
        self.shop.assert_whole()


def other_content(request: PlaceChoreographed) -> PlaceChoreographed:
    return replace(request, order=replace(request.order, lines=request.order.lines[:1]))
