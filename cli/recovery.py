"""Orders that lost their workflow, and how they get it back.

A terminated workflow compensates nothing, and a Temporal that lost its store knows of none. The rows know how far each
order came, and the lookup row what was asked for: the saga is started again under the same id, every step answers what
it answered before, and the order goes on from there, forward or back as its row has decided.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cli.audit import Audit
from cli.connections import Connections
from cli.order_book import OrderBook
from cli.order_sagas import OrderSagas
from cli.progress import Report
from cli.workflow_states import TemporalWorkflowStates
from domain.errors import Unreachable
from domain.orders import Order, OrderStatus
from shards.audit.findings import Violation
from shards.side_by_side import all_ended
from stack.settings import Settings

STARTED_AT_ONCE_MAX = 50


@dataclass(frozen=True, slots=True)
class AbandonedOrder:
    """`status` is the row's, where the saga goes on from; None where the workflow ended before it wrote one."""

    order_id: str
    status: OrderStatus | None

    @property
    def is_decided(self) -> bool:
        return self.status not in (None, OrderStatus.PENDING)


@dataclass(frozen=True, slots=True)
class Found:
    """`damage`: what is wrong beside, or instead; starting a workflow cannot mend it."""

    orders: Sequence[AbandonedOrder]
    damage: Sequence[Violation]


class Recovery:
    """Finds abandoned orders and has them carried out. Needs connections without time limits (`long_running`)."""

    def __init__(self, connections: Connections, settings: Settings, progress: Report) -> None:
        self._connections = connections
        self._book = OrderBook(connections.router)
        self._sagas = OrderSagas(connections.temporal, settings)
        self._progress = progress

    async def find(self) -> Found:
        """As `verify` finds them: an order that is worked on, or ended meanwhile, is none of them. Changes nothing."""
        await self._connections.router.map()  # With a shard left out of the settings, its orders would seem lost.
        workflows = TemporalWorkflowStates(await self._connections.temporal())
        audit = Audit(self._connections.cluster, workflows, self._progress)
        await audit.check_sagas()
        order_ids = sorted({dossier.order_id for dossier in audit.abandoned.values() if dossier.order_id is not None})
        known = await self._book.read(order_ids)
        orders = [AbandonedOrder(each, known[each].status if each in known else None) for each in order_ids]
        damage = [violation for finding in audit.findings.by_check.values() for violation in finding.violations]
        return Found(orders, damage)

    async def start(self, found: Sequence[AbandonedOrder]) -> None:
        """Starts their sagas again and does not wait for them. Safe to repeat, and beside another process's: a workflow
        that runs is joined, one that has ended runs again and changes nothing that is decided.

        A crash in the middle leaves some started; the others are found again. Raises `Unreachable`.
        """
        turns = asyncio.Semaphore(STARTED_AT_ONCE_MAX)
        done = 0

        async def start(order: AbandonedOrder) -> None:
            nonlocal done
            async with turns:
                request = await self._request(order.order_id)
                shard = await self._book.customer_shard(request.customer_id)
                await self._sagas.start(request, shard, is_decided=order.is_decided)
            done += 1
            self._progress("started again", done, len(found))

        await all_ended(start(each) for each in found)

    async def _request(self, order_id: str) -> Order:
        """What was asked for: by the row, or by the lost workflow's own history where it had not come to write one."""
        known = await self._book.find(order_id)
        request = known.lookup.request if known is not None else await self._sagas.asked_for(order_id)
        if request is None:
            raise Unreachable("temporal_unreachable", f"Temporal does not tell what order {order_id} is about")
        return request
