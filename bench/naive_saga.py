"""The order saga as it is usually written, with the same effects: one regular activity each, a default worker, and a
list of compensations in the workflow's memory. For comparison only: it loses money if it is cancelled or killed at the
wrong moment (docs/decisions/0004-the-row-decides.md).

Run as a module, it is its worker: `python -m bench.naive_saga DATA_DIR`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from pydantic.dataclasses import dataclass
from temporalio import workflow
from temporalio.worker import Worker

with workflow.unsafe.imports_passed_through():
    from activities.interfaces import (
        AbortOrder,
        CreditMerchant,
        DecideOrder,
        OpenOrder,
        OrderActivities,
        PaymentActivities,
        StockActivities,
        StockStep,
    )
    from domain.identifiers import order_saga_id
    from domain.orders import Order, PricedLine, total_of
    from domain.sagas import Reason, Refusal

A = TypeVar("A")
R = TypeVar("R")

TASK_QUEUE = "naive-orders"
START_TO_CLOSE = timedelta(seconds=10)


@dataclass(frozen=True)
class NaiveResult:
    confirmed: bool


@workflow.defn(name="NaiveOrderSaga")
class NaiveOrderSaga:
    @workflow.run
    async def run(self, order: Order) -> NaiveResult:
        saga_id = order_saga_id(order.order_id)
        compensations: list[tuple[Callable[[Any, Any], Coroutine[Any, Any, None]], Any]] = []
        claimed = await self._do(OrderActivities.claim_order_id, order)
        lines = tuple(PricedLine(x.sku, x.quantity, x.unit_price) for x in order.lines if x.unit_price)
        total = total_of(lines, order.currency)
        assert not isinstance(total, Refusal)
        abort = AbortOrder(order.order_id, order.customer_id, Refusal(Reason.STEP_FAILED, "a step failed"))
        try:
            compensations.append((OrderActivities.abort_order, abort))
            await self._do(OrderActivities.open_order, OpenOrder(order, lines, total))
            steps = [StockStep(saga_id, order.currency, share) for share in claimed.stock]
            for step in steps:
                compensations.append((StockActivities.release_stock, step))
                await self._do(StockActivities.reserve_stock, step)
            await self._do(OrderActivities.decide_order, DecideOrder(order.order_id, order.customer_id))
            for step in steps:
                await self._do(StockActivities.consume_stock, step)
            await self._do(PaymentActivities.credit_merchant, CreditMerchant(saga_id, order.customer_id, total))
        except Exception:
            for compensation, argument in reversed(compensations):
                await self._do(compensation, argument)
            return NaiveResult(False)
        return NaiveResult(True)

    async def _do(self, step: Callable[[Any, A], Coroutine[Any, Any, R]], argument: A) -> R:
        result: R = await workflow.execute_activity_method(step, argument, start_to_close_timeout=START_TO_CLOSE)
        return result


async def main(data_dir: Path) -> None:
    from activities.registry import Wiring
    from shards.connections.cluster import Cluster
    from shards.routing.router import Router
    from stack.settings import load_settings, resolve_databases
    from stack.temporal_client import connect
    from workers.run import HOSTED
    from workflows.orders.saga import TASK_QUEUE as ORDERS

    settings = load_settings(data_dir)
    databases = resolve_databases(settings)
    async with Cluster(databases.shards, databases.catalog, databases.read_model, settings.pool_size) as cluster:
        activities = HOSTED[ORDERS].activities(Wiring(Router(cluster), settings.outbox_keep_seconds))
        await Worker(
            await connect(settings), task_queue=TASK_QUEUE, workflows=[NaiveOrderSaga], activities=activities
        ).run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
