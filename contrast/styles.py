"""The same order in both styles: orchestrated by one workflow, and carried on by the reactors of four services."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from temporalio.client import Client

from contrast.accounts import CURRENCY, ContrastAccounts
from contrast.documents import StyleCell, StyleCost
from domain.catalogue import Product
from domain.choreography import REACTIONS, EventKind
from domain.errors import Refused, ShardwiseError, Unreachable
from domain.identifiers import contrast_id, order_saga_id
from domain.money import Money
from domain.orders import Order, OrderLine, OrderStatus, Style
from domain.percentiles import percentile
from domain.shard_map import ShardMap
from shards.catalogue.imports import import_products
from shards.routing.router import Router
from shards.sagas.saga_rows import count_events
from shardwise.connections import Connections
from shardwise.orders.styles import OrderStyles
from shardwise.temporal.calls import WorkflowFailed
from stack.embedded.waiting import attempts
from stack.settings import Settings
from workflows.interfaces import OrderResult
from workflows.orders.saga import workflow_id

CUSTOMERS_PER_SHARD = 1
WAIT_SECONDS = 120.0
STOCK = 1_000_000
PRICE = Money(1, CURRENCY)
WARM_UP_ORDERS = 4
# Reactors still run after the order's row is final.
SETTLED_WITHIN_SECONDS = 30.0
_KINDS = (EventKind.ORDER_PLACED, EventKind.STOCK_RESERVED, EventKind.PAYMENT_HELD, EventKind.ORDER_CONFIRMED)
# Of a confirmed order: its placement, and one for each reaction to its events.
WORKFLOWS = 1 + sum(len(REACTIONS[kind]) for kind in _KINDS)


async def list_products(router: Router, run_id: str) -> tuple[str, str]:
    """Lists two products for this run, with enough stock, and returns their SKUs. They stay.

    `Refused` with `no_products` if none was ever imported: the first import decides how SKUs are cut into ranges, and
    these products should not.
    """
    shard_map = await router.map()
    if not shard_map.ranges_cut:
        message = "import products first: the first ones decide how SKUs are cut into ranges, and these should not"
        raise Refused("no_products", message)
    skus = _on_two_shards(shard_map, run_id)
    products = [Product(sku, f"Contrast {run_id}", PRICE, STOCK) for sku in skus]
    await import_products(router, products, for_contrast=True)
    return skus


def _on_two_shards(shard_map: ShardMap, run_id: str) -> tuple[str, str]:
    """In ranges of two shards, if any two first letters lead to two."""
    names = [contrast_id(f"{letter}-{run_id}") for letter in "0AMZaz"]
    for one, other in itertools.combinations(names, 2):
        if shard_map.of_sku(one).shard != shard_map.of_sku(other).shard:
            return one, other
    return names[0], names[-1]


@dataclass(slots=True)
class _Measured:
    results: list[OrderResult] = field(default_factory=list)
    taken: list[float] = field(default_factory=list)
    seconds: float = 0.0

    def cell(self, style: Style, concurrency: int) -> StyleCell:
        p50, p95, p99 = (round(percentile(self.taken, percent) * 1000, 1) for percent in (50, 95, 99))
        return StyleCell(
            style=style,
            concurrency=concurrency,
            orders=len(self.results),
            seconds=round(self.seconds, 3),
            per_second=round(len(self.results) / self.seconds, 2),
            p50_ms=p50,
            p95_ms=p95,
            p99_ms=p99,
        )


class StyleLoader:
    def __init__(
        self,
        to: Connections,
        settings: Settings,
        accounts: ContrastAccounts,
        skus: tuple[str, str],
        on_progress: Callable[[str], None],
    ) -> None:
        self._to = to
        self._styles = OrderStyles(to.temporal, to.router, settings)
        self._run_id = accounts.run_id
        self._skus = skus
        self._on_progress = on_progress
        self._customers = [account for shard in accounts.shards for account in accounts.take(shard)]

    async def cells(self, concurrencies: Sequence[int], orders: int, rounds: int) -> list[StyleCell]:
        """The styles take turns, so that a machine whose speed drifts slows both. Every order is confirmed."""
        for style in Style:
            await self._carry_out(style, 1, WARM_UP_ORDERS, "warm-up")
        measured = {cell: _Measured() for cell in product(concurrencies, Style)}
        for number, (concurrency, style) in product(range(rounds), measured):
            more = await self._carry_out(style, concurrency, orders, f"{number}-{concurrency}")
            so_far = measured[concurrency, style]
            so_far.results += more.results
            so_far.taken += more.taken
            so_far.seconds += more.seconds
            rate = so_far.cell(style, concurrency).per_second
            self._on_progress(f"round {number + 1} of {rounds}: {concurrency} at once, {style}: {rate:.1f} orders/s")
        return [found.cell(style, concurrency) for (concurrency, style), found in measured.items()]

    async def costs(self, orders: int) -> list[StyleCost]:
        """One order after the other, with nothing else running."""
        return [await self._cost(style, orders) for style in Style]

    async def _cost(self, style: Style, orders: int) -> StyleCost:
        measured = await self._carry_out(style, 1, orders, "cost")
        order_id = measured.results[-1].order_id
        workflows, history_events = await _in_temporal(await self._to.temporal(), order_id, style)
        outbox_events = await count_events(self._to.cluster, order_saga_id(order_id))
        return StyleCost(
            style=style,
            orders=orders,
            latency_ms=round(statistics.median(measured.taken) * 1000, 1),
            workflows=workflows,
            history_events=history_events,
            outbox_events=outbox_events,
        )

    async def _carry_out(self, style: Style, at_once: int, orders: int, name: str) -> _Measured:
        turns = asyncio.Semaphore(at_once)
        measured = _Measured()

        async def one(number: int) -> None:
            customer = self._customers[number % len(self._customers)]
            order_id = contrast_id(f"{self._run_id}-{name}-{style}-{number}")
            lines = tuple(OrderLine(sku, 1, PRICE) for sku in self._skus)
            async with turns:
                began = time.perf_counter()
                result = await self._confirmed(Order(order_id, customer, CURRENCY, lines, style=style))
                measured.taken.append(time.perf_counter() - began)
            measured.results.append(result)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(orders):
                group.create_task(one(number))
        measured.seconds = time.perf_counter() - began
        return measured

    async def _confirmed(self, order: Order) -> OrderResult:
        shard = (await self._to.router.map()).of_customer(order.customer_id).shard
        try:
            result = await self._styles.carry_out(order, shard, WAIT_SECONDS)
        except WorkflowFailed as error:
            raise ShardwiseError("contrast_broke", f"the workflow of order {order.order_id} ended: {error}") from error
        if result is None:
            raise Unreachable("contrast_stalled", f"order {order.order_id} is not final after {WAIT_SECONDS:.0f} s")
        if result.status is not OrderStatus.CONFIRMED:
            raise ShardwiseError("contrast_declined", f"order {order.order_id} was not confirmed: {result.refusal}")
        return result


async def _in_temporal(client: Client, order_id: str, style: Style) -> tuple[int, int]:
    """How many workflows one order took, and the events of all their histories, once all have ended."""
    if style is Style.ORCHESTRATED:
        history = await client.get_workflow_handle(workflow_id(order_id)).fetch_history()
        return 1, len(history.events)
    query = f'Saga = "{order_saga_id(order_id)}"'
    async for _ in attempts(SETTLED_WITHIN_SECONDS):
        found = [each async for each in client.list_workflows(query)]
        if len(found) == WORKFLOWS and all(each.close_time is not None for each in found):
            return WORKFLOWS, sum(each.history_length for each in found)
    raise Unreachable("contrast_stalled", f"the reactors of order {order_id} do not end")
