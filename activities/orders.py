"""The order's own rows, over the shards. Contracts: `activities.interfaces.OrderActivities`."""

from __future__ import annotations

import asyncio

from pydantic import TypeAdapter
from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import (
    AbortOrder,
    Claimed,
    DecideOrder,
    OpenOrder,
    OrderActivities,
    Priced,
    RefuseOrderId,
    StepResult,
    StockShare,
)
from domain.identifiers import order_saga_id
from domain.money import Money
from domain.orders import Order, PricedLine, quantities_by_sku
from domain.sagas import Decision, Reason, Refusal
from domain.shard_map import ShardMap
from domain.steps import Step
from domain.stock import why_not_sold
from shards.orders import decision, order_row
from shards.orders import lookup as order_lookup
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier
from shards.stock import levels

_PLAN = TypeAdapter(tuple[StockShare, ...])
_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)


class ShardedOrderActivities(OrderActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def claim_order_id(self, order: Order) -> Claimed:
        shard_map = await self._router.map()
        if not shard_map.ranges_cut:
            shard_map = await self._router.refreshed(than=shard_map.version)
        plan = _PLAN.dump_python(plan_stock(order, shard_map), mode="json")

        async def effect(tx: ShardTransaction) -> Claimed:
            lookup = await order_lookup.claim(tx, order, plan)
            if lookup.content_hash != order.content_hash:
                detail = f"order id {order.order_id} already names an order with other content"
                return Claimed(Refusal(Reason.ID_CONFLICT, detail))
            if lookup.request.style is not order.style:
                return Claimed(Refusal(Reason.OTHER_STYLE, f"order {order.order_id} is {lookup.request.style}"))
            return Claimed(None, _PLAN.validate_python(lookup.stock_plan))

        return await self._router.write(lambda m: m.of_order_id(order.order_id), effect)

    @activity.defn
    @failures_translated
    async def price_lines(self, order: Order) -> Priced:
        unpriced = sorted({line.sku for line in order.lines if line.unit_price is None})
        shard_map = await self._router.map()
        prices = await self._read_prices(unpriced)
        if len(prices) < len(unpriced):
            # A read is not fenced, so our map may be old. Read by a fresh one before refusing the product as unknown.
            await self._router.refreshed(than=shard_map.version)
            prices = await self._read_prices(unpriced)
        for sku in unpriced:
            sold_in = prices[sku].currency if sku in prices else None
            refusal = why_not_sold(sku, sold_in, order.currency)
            if refusal is not None:
                return Priced(refusal)
        return Priced(None, tuple(PricedLine(x.sku, x.quantity, x.unit_price or prices[x.sku]) for x in order.lines))

    async def _read_prices(self, skus: list[str]) -> dict[str, Money]:
        shard_map = await self._router.map()
        by_range: dict[str, list[str]] = {}
        for sku in skus:
            by_range.setdefault(shard_map.of_sku(sku).slot, []).append(sku)

        async def read(part: list[str]) -> dict[str, Money]:
            return await self._router.read(lambda m: m.of_sku(part[0]), lambda tx: levels.read_prices(tx, part))

        found = await asyncio.gather(*(read(part) for part in by_range.values()))
        return {sku: price for part in found for sku, price in part.items()}

    @activity.defn
    @failures_translated
    async def open_order(self, request: OpenOrder) -> StepResult:
        order = request.order

        async def effect(tx: ShardTransaction) -> Refusal | None:
            return await barrier.do_once(
                tx,
                order_saga_id(order.order_id),
                Step.OPEN_ORDER.barrier_step(),
                lambda: order_row.open_order(tx, order, request.lines, request.total),
                _REFUSAL,
            )

        return StepResult(await self._router.write(lambda m: m.of_customer(order.customer_id), effect))

    @activity.defn
    @failures_translated
    async def decide_order(self, request: DecideOrder) -> Decision:
        return await self._router.write(
            lambda m: m.of_customer(request.customer_id),
            lambda tx: decision.decide(tx, request.order_id, request.refusal),
        )

    @activity.defn
    @failures_translated
    async def abort_order(self, request: AbortOrder) -> None:
        await self._router.write(
            lambda m: m.of_customer(request.customer_id),
            lambda tx: order_row.abort_order(tx, request.order_id, request.refusal),
        )

    @activity.defn
    @failures_translated
    async def refuse_order_id(self, request: RefuseOrderId) -> None:
        await self._router.write(
            lambda m: m.of_order_id(request.order.order_id),
            lambda tx: order_lookup.refuse(tx, request.order, request.refusal),
        )


def plan_stock(order: Order, shard_map: ShardMap) -> tuple[StockShare, ...]:
    """The order's quantities by SKU range, in the order of the ranges."""
    shares: dict[str, StockShare] = {}
    for sku, quantity in quantities_by_sku(order.lines).items():
        route = shard_map.of_sku(sku)
        share = shares.setdefault(route.slot, StockShare(route.slot, route.shard, {}))
        share.quantities[sku] = quantity
    return tuple(shares.values())
