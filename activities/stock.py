"""Stock of one SKU range, over the shards. Contracts: `activities.interfaces.StockActivities`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import TypeAdapter
from temporalio import activity

from activities.effects import failures_translated
from activities.interfaces import StepResult, StockActivities, StockShare, StockStep
from domain.events import StockEvent
from domain.sagas import Refusal
from domain.shard_map import Route, ShardMap
from domain.steps import Step
from shards.connections.database_errors import IntegrityViolation
from shards.outbox.appending import append_event
from shards.routing.router import Router
from shards.routing.shard_transaction import ShardTransaction
from shards.sagas import barrier
from shards.stock import reservations

_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)
_NOTHING = TypeAdapter(None)


class ShardedStockActivities(StockActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn
    @failures_translated
    async def reserve_stock(self, request: StockStep) -> StepResult:
        return StepResult(await self._router.write(_route_of(request.share), lambda tx: _reserve(tx, request)))

    @activity.defn
    @failures_translated
    async def release_stock(self, request: StockStep) -> None:
        share = request.share

        async def release(tx: ShardTransaction) -> None:
            released = await reservations.release(tx, request.saga_id, list(share.quantities))
            _append_events(tx, request, StockEvent.RELEASED, released)

        await self._router.write(
            _route_of(share),
            lambda tx: barrier.undo_once(tx, request.saga_id, _reserve_step(share), lambda: release(tx)),
        )

    @activity.defn
    @failures_translated
    async def consume_stock(self, request: StockStep) -> None:
        share = request.share

        async def consume(tx: ShardTransaction) -> None:
            skus = list(share.quantities)
            consumed = await reservations.consume(tx, request.saga_id, skus)
            if len(consumed) < len(skus) and await _reserve(tx, request) is None:
                # It was reserved once, or the order would not be confirmed: the shard was restored to before that.
                consumed |= await reservations.consume(tx, request.saga_id, skus)
            if missing := sorted(set(skus) - set(consumed)):
                raise IntegrityViolation(f"{request.saga_id} is confirmed, but nothing is reserved of {missing}")
            _append_events(tx, request, StockEvent.CONSUMED, consumed)

        async def effect(tx: ShardTransaction) -> None:
            step = Step.CONSUME_STOCK.barrier_step(share.sku_range)
            await barrier.do_once(tx, request.saga_id, step, lambda: consume(tx), _NOTHING)

        await self._router.write(_route_of(share), effect)


async def _reserve(tx: ShardTransaction, request: StockStep) -> Refusal | None:
    share = request.share

    async def reserve() -> Refusal | None:
        reserved = await reservations.reserve(tx, request.saga_id, share.quantities, request.currency)
        if isinstance(reserved, Refusal):
            return reserved
        _append_events(tx, request, StockEvent.RESERVED, reserved)
        return None

    return await barrier.do_once(tx, request.saga_id, _reserve_step(share), reserve, _REFUSAL)


def _reserve_step(share: StockShare) -> str:
    # Named by range, not by shard: the name must stay when the range moves.
    return Step.RESERVE_STOCK.barrier_step(share.sku_range)


def _route_of(share: StockShare) -> Callable[[ShardMap], Route]:
    return lambda shard_map: shard_map.of_sku(next(iter(share.quantities)))


def _append_events(tx: ShardTransaction, request: StockStep, event: StockEvent, versions: Mapping[str, int]) -> None:
    for sku, version in versions.items():
        quantity = request.share.quantities[sku]
        append_event(tx, request.saga_id, event, sku, version, quantity=quantity)
