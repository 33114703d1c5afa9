"""Stock of one SKU range, over the shards. Contracts: `activities.interfaces.StockActivities`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pydantic import TypeAdapter
from temporalio import activity

from activities.effects import failures_told
from activities.interfaces import StepResult, StockActivities, StockShare, StockStep
from domain.sagas import Refusal
from domain.shard_map import Route, ShardMap
from shards import barrier, outbox, stock
from shards.routing import Router, ShardTransaction

_REFUSAL = TypeAdapter[Refusal | None](Refusal | None)
_NOTHING = TypeAdapter(None)


class ShardedStockActivities(StockActivities):
    def __init__(self, router: Router) -> None:
        self._router = router

    @activity.defn(name="reserve_stock")
    @failures_told
    async def reserve_stock(self, request: StockStep) -> StepResult:
        share = request.share

        async def reserve(tx: ShardTransaction) -> Refusal | None:
            reserved = await stock.reserve(tx, request.saga_id, share.quantities, request.currency)
            if isinstance(reserved, Refusal):
                return reserved
            _tell(tx, request, "StockReserved", reserved)
            return None

        async def effect(tx: ShardTransaction) -> Refusal | None:
            return await barrier.do_once(tx, request.saga_id, _reserve_step(share), lambda: reserve(tx), _REFUSAL)

        return StepResult(await self._router.write(_route_of(share), effect))

    @activity.defn(name="release_stock")
    @failures_told
    async def release_stock(self, request: StockStep) -> None:
        share = request.share

        async def release(tx: ShardTransaction) -> None:
            released = await stock.release(tx, request.saga_id, list(share.quantities))
            _tell(tx, request, "StockReleased", released)

        await self._router.write(
            _route_of(share),
            lambda tx: barrier.undo_once(tx, request.saga_id, _reserve_step(share), lambda: release(tx)),
        )

    @activity.defn(name="consume_stock")
    @failures_told
    async def consume_stock(self, request: StockStep) -> None:
        share = request.share

        async def consume(tx: ShardTransaction) -> None:
            consumed = await stock.consume(tx, request.saga_id, list(share.quantities))
            _tell(tx, request, "StockConsumed", consumed)

        async def effect(tx: ShardTransaction) -> None:
            step = f"consume_stock/{share.sku_range}"
            await barrier.do_once(tx, request.saga_id, step, lambda: consume(tx), _NOTHING)

        await self._router.write(_route_of(share), effect)


def _reserve_step(share: StockShare) -> str:
    # Named by range, not by shard: the name must outlive a move of the range.
    return f"reserve_stock/{share.sku_range}"


def _route_of(share: StockShare) -> Callable[[ShardMap], Route]:
    return lambda shard_map: shard_map.of_sku(next(iter(share.quantities)))


def _tell(tx: ShardTransaction, request: StockStep, kind: str, versions: Mapping[str, int]) -> None:
    for sku, version in versions.items():
        quantity = request.share.quantities[sku]
        outbox.append(tx, request.saga_id, "stock", sku, version, kind, quantity=quantity)
