"""Orders and transfers that lost their workflow, and how they get it back.

A terminated workflow compensates nothing, and a Temporal that lost its store knows no workflows. The rows hold each
saga's request and how far it came. The saga is started again under the same id: finished steps return their stored
results, and it goes on from there, forward or back as its row has decided. For a choreographed order, the reactors to
its newest event are started again. A start without a row may be one that no rule allows: it is started again to get its
refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.choreography import placement_id, saga_id_of
from domain.errors import InvalidInput, Refused, Unreachable
from domain.identifiers import order_saga_id
from domain.orders import Order, OrderStatus, Style
from domain.progress import Report
from domain.transfer_batch import batch_workflow_id
from domain.transfers import TransferState
from shards.audit.audit import Audit
from shards.audit.findings import Violation
from shards.audit.sagas.judgement import judge
from shards.audit.workflows import Work
from shards.connections.concurrency import gather_all
from shards.orders.reads import OrderReads
from shards.transfers.batch import staging
from shards.transfers.reads import read_transfers
from shardwise.connections import Connections
from shardwise.orders.styles import OrderStyles
from shardwise.temporal.calls import start_again_as_given
from shardwise.temporal.other_workflows import list_others
from shardwise.temporal.refused_starts import RefusedStart, list_refused
from shardwise.temporal.states import TemporalWorkflowStates
from shardwise.transfers.batches import TransferBatches
from shardwise.transfers.sagas import TransferSagas
from stack.settings import Settings
from workflows.interfaces import TransferBatch

STARTED_AT_ONCE_MAX = 50


@dataclass(frozen=True, slots=True)
class AbandonedOrder:
    """`status` is the row's, from which the saga goes on; None if the workflow ended before it wrote one."""

    order_id: str
    status: OrderStatus | None

    @property
    def is_decided(self) -> bool:
        return self.status not in (None, OrderStatus.PENDING)


@dataclass(frozen=True, slots=True)
class AbandonedTransfer:
    """`state` is the row's, from which it goes on; None if the workflow ended before it wrote one."""

    saga_id: str
    state: TransferState | None

    @property
    def key(self) -> tuple[str, str]:
        """(source, id)."""
        _, source, transfer_id = self.saga_id.split("/")
        return source, transfer_id


@dataclass(frozen=True, slots=True)
class Found:
    """`transfers` have workflows of their own; `batches` are the ids of batches that no workflow works on. `refused`:
    starts that no rule allows, and that began nothing. `damage`: what starting a workflow cannot repair, foreign
    workflows under orders' ids included.
    """

    orders: Sequence[AbandonedOrder]
    transfers: Sequence[AbandonedTransfer]
    batches: Sequence[str]
    refused: Sequence[RefusedStart]
    damage: Sequence[Violation]


@dataclass(slots=True)
class _WithoutRow:
    """Sagas that have no row to go on from. `unreadable`: their entrance refuses the request; `forgotten`: Temporal
    does not know the request any more."""

    unreadable: list[RefusedStart] = field(default_factory=list)
    forgotten: set[str] = field(default_factory=set)


class Recovery:
    """Finds abandoned sagas and has them carried out. Needs connections without time limits (`long_running`)."""

    def __init__(self, connections: Connections, settings: Settings, progress: Report) -> None:
        self._connections = connections
        self._reads = OrderReads(connections.router)
        self._styles = OrderStyles(connections.temporal, connections.router, settings)
        self._transfers = TransferSagas(connections.temporal, settings)
        self._progress = progress

    async def find(self) -> Found:
        """Judges as `verify` does: a saga that is worked on, or has ended meanwhile, is not abandoned. Changes
        nothing."""
        await self._connections.router.map()  # Fails if the settings lack a shard, whose sagas would seem lost.
        client = await self._connections.temporal()
        workflows = TemporalWorkflowStates(client)
        audit = Audit(self._connections.cluster, workflows, self._progress)
        await audit.check_sagas()
        order_ids = sorted({dossier.order_id for dossier in audit.abandoned.values() if dossier.order_id is not None})
        known = await self._reads.read(order_ids)
        orders = [AbandonedOrder(each, known[each].status if each in known else None) for each in order_ids]
        transfers = [
            AbandonedTransfer(saga_id, TransferState(dossier.transfers[0].state) if dossier.transfers else None)
            for saga_id, dossier in sorted(audit.abandoned.items())
            if dossier.is_transfer and dossier.batch_id is None
        ]
        batches = {each.batch_id for each in audit.abandoned.values() if each.batch_id is not None}
        batches |= await self._batches_without_workflow(workflows)
        damage = [violation for finding in audit.findings.by_check.values() for violation in finding.violations]
        for each in await list_others(client):
            row = {"workflow_id": each.workflow_id, "workflow_type": each.workflow_type, "task_queue": each.task_queue}
            damage.append(Violation(each.what, None, row))
        without_row = _WithoutRow()
        await self._look_at_orders([each.order_id for each in orders if each.status is None], without_row)
        await self._look_at_transfers([each.saga_id for each in transfers if each.state is None], without_row)
        for batch_id in sorted(batches):
            if not await staging.is_staged(self._connections.cluster, batch_id):
                batches.remove(batch_id)
                what = f"the lines of batch {batch_id} are gone: import its file again"
                damage.append(Violation(what, None, {"batch_id": batch_id}))
        for saga_id in without_row.forgotten & audit.abandoned.keys():
            damage += [fault.violation for fault in judge(audit.abandoned[saga_id]) if fault.while_open]
        sagas = {saga_id_of(each.workflow_id) for each in without_row.unreadable} | without_row.forgotten
        return Found(
            [each for each in orders if order_saga_id(each.order_id) not in sagas],
            [each for each in transfers if each.saga_id not in sagas],
            sorted(batches),
            [*without_row.unreadable, *await list_refused(client)],
            damage,
        )

    async def _look_at_orders(self, order_ids: Iterable[str], without_row: _WithoutRow) -> None:
        for order_id in order_ids:
            request, faults = await self._request_of(order_id)
            if request is None:
                ids = {Style.ORCHESTRATED: order_saga_id(order_id), Style.CHOREOGRAPHED: placement_id(order_id)}
                refused = [RefusedStart(ids[style], fault, started_again=True) for style, fault in faults.items()]
                without_row.unreadable += refused
                if not refused:
                    without_row.forgotten.add(order_saga_id(order_id))

    async def _look_at_transfers(self, saga_ids: Iterable[str], without_row: _WithoutRow) -> None:
        for saga_id in saga_ids:
            try:
                if await self._transfers.request_of(saga_id) is None:
                    without_row.forgotten.add(saga_id)
            except InvalidInput as fault:
                without_row.unreadable.append(RefusedStart(saga_id, fault, started_again=True))

    async def _batches_without_workflow(self, workflows: TemporalWorkflowStates) -> set[str]:
        """A batch may have stopped between two transfers, so that no row shows it."""
        unfinished = await staging.unfinished(self._connections.cluster)
        states = {batch_id: await workflows.state_of(batch_workflow_id(batch_id)) for batch_id in unfinished}
        return {batch_id for batch_id, state in states.items() if state.work is not Work.OPEN}

    async def start(self, found: Found) -> None:
        """Starts the sagas again and does not wait for them. Safe to repeat, and while another process does the same: a
        workflow that runs is joined, one that has ended runs again and changes nothing that is decided.

        A crash in the middle leaves some started; the others are found again. Raises `Unreachable`.
        """
        turns = asyncio.Semaphore(STARTED_AT_ONCE_MAX)
        done = 0

        async def in_turn(starting: Coroutine[Any, Any, None]) -> None:
            nonlocal done
            async with turns:
                await starting
            done += 1
            self._progress("started again", done, len(work))

        work = [
            *map(self._start_order, found.orders),
            *map(self._start_transfer, found.transfers),
            *map(self._start_batch, found.batches),
            *(self._start_as_given(each.workflow_id) for each in found.refused if each.started_again),
        ]
        await gather_all(in_turn(each) for each in work)

    async def _start_order(self, order: AbandonedOrder) -> None:
        request = await self._request(order.order_id)
        shard = await self._reads.customer_shard(request.customer_id)
        await self._styles.resume(request, shard, order.is_decided)

    async def _start_transfer(self, abandoned: AbandonedTransfer) -> None:
        """With the protocol that was begun; if there is no row yet, with the one that was requested."""
        router, source = self._connections.router, abandoned.key[0]
        rows = await router.read(lambda m: m.of_account(source), lambda tx: read_transfers(tx, [abandoned.key]))
        if rows:
            transfer, protocol = rows[0].transfer, rows[0].protocol.as_choice()
        else:
            request = await self._transfers.request_of(abandoned.saga_id)
            if request is None:
                raise Unreachable(
                    "temporal_unreachable", f"Temporal does not know what {abandoned.saga_id} was started with"
                )
            transfer, protocol = request.transfer, request.protocol
        shard = (await router.map()).of_account(source).shard
        await self._transfers.start(transfer, protocol, shard)

    async def _start_batch(self, batch_id: str) -> None:
        """From its staged lines; every line that is decided stays so."""
        staged = await staging.resume(self._connections.cluster, batch_id)
        if staged is None:
            raise Refused("batch_not_staged", f"the lines of batch {batch_id} are gone: import its file again")
        await TransferBatches(self._connections.temporal).start(TransferBatch(batch_id, dict(staged.lines)))

    async def _start_as_given(self, workflow_id: str) -> None:
        await start_again_as_given(await self._connections.temporal(), workflow_id)

    async def _request(self, order_id: str) -> Order:
        """From the row, or from the lost workflow's history if it had not written a row."""
        known = await self._reads.find(order_id)
        if known is not None:
            return known.lookup.request
        request, _ = await self._request_of(order_id)
        if request is None:
            raise Unreachable("temporal_unreachable", f"Temporal does not know what order {order_id} was started with")
        return request

    async def _request_of(self, order_id: str) -> tuple[Order | None, dict[Style, InvalidInput]]:
        """The order that a workflow of either style was started with; and by style, why its input is invalid."""
        faults: dict[Style, InvalidInput] = {}
        for style in Style:
            try:
                request = await self._styles.request_of(order_id, style)
            except InvalidInput as fault:
                faults[style] = fault
                continue
            if request is not None:
                return request, faults
        return None, faults
