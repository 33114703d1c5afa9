"""Waits for choreographed orders to become final, by polling their rows for all callers together."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from domain.errors import ShardwiseError
from shards.connections.waiting import within
from shards.orders.order_row import OrderRow
from shards.orders.reads import OrderReads

POLL_SECONDS = 0.05


@dataclass(slots=True)
class _Awaited:
    customer_id: str
    final: asyncio.Future[OrderRow]
    callers: int = 0


class FinalRows:
    """Each poll is one query per shard, however many callers wait. Without callers nothing is polled."""

    def __init__(self, reads: OrderReads) -> None:
        self._reads = reads
        self._waited: dict[str, _Awaited] = {}
        self._polling: asyncio.Task[None] | None = None

    async def final(self, order_id: str, customer_id: str, seconds: float) -> OrderRow | None:
        """The order's row once it is final; None if it is not within `seconds`. Goes on waiting while a shard is
        away."""
        waited = self._waited.get(order_id)
        if waited is None:
            waited = self._waited[order_id] = _Awaited(customer_id, asyncio.get_running_loop().create_future())
        waited.callers += 1
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            return await within(_result(waited.final), max(seconds, POLL_SECONDS))
        except TimeoutError:
            return None
        finally:
            waited.callers -= 1
            if waited.callers == 0:
                self._waited.pop(order_id, None)
            await self._stop_polling_if_unused()

    async def _stop_polling_if_unused(self) -> None:
        """Without callers, nothing may go on in the background on connections that they close."""
        if self._waited or self._polling is None:
            return
        polling, self._polling = self._polling, None
        polling.cancel()
        await asyncio.wait({polling})

    async def _poll(self) -> None:
        while self._waited:
            customers = {order_id: waited.customer_id for order_id, waited in self._waited.items()}
            rows: dict[str, OrderRow] = {}
            with contextlib.suppress(ShardwiseError):
                rows = await self._reads.rows(customers, skip_unreachable=True)
            for order_id, row in rows.items():
                waited = self._waited.get(order_id)
                if row.state.is_final and waited is not None and not waited.final.done():
                    waited.final.set_result(row)
            await asyncio.sleep(POLL_SECONDS)


async def _result(final: asyncio.Future[OrderRow]) -> OrderRow:
    # One caller's timeout must not cancel the wait of the others.
    return await asyncio.shield(final)
