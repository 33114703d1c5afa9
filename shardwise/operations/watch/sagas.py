"""Open orders and transfers as Temporal knows them: how many, which orders are stuck, and what they wait for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import Client, WorkflowExecution

from domain.choreography import ORDER_WORKFLOW_TYPES, saga_id_of
from domain.identifiers import order_saga_id
from domain.orders import OrderStatus
from domain.transfers import TransferStatus
from shardwise.operations.watch.documents import StuckDocument
from shardwise.temporal.other_workflows import count_others
from shardwise.temporal.refused_starts import count_refused
from tracing.history import as_datetime, ended_by

STUCK_SHOWN_MAX = 5
# Temporal lists the newest first and knows no other order: the oldest are searched among this many.
STUCK_LISTED_MAX = 100
REFUSED_WITHIN = timedelta(days=1)
_TYPES = ", ".join(f'"{each}"' for each in ORDER_WORKFLOW_TYPES)
_OPEN = f'WorkflowType IN ({_TYPES}) AND ExecutionStatus = "Running"'
_TRANSFERS = 'WorkflowType = "TransferWorkflow" AND ExecutionStatus = "Running"'
_STUCK_TRANSFERS = f'{_TRANSFERS} AND TransferStatus = "{TransferStatus.STUCK}"'
_BATCHES = 'WorkflowType = "TransferBatchWorkflow" AND ExecutionStatus = "Running"'
_STUCK = f'{_OPEN} AND OrderStatus = "{OrderStatus.STUCK}"'


@dataclass(frozen=True, slots=True)
class OpenSagas:
    """`in_flight`: open workflows, one for each order; for a choreographed order, one for each reactor at work.
    `refused`: starts of the last day, of any workflow, that no rule allows. `others`: workflows that hold an order's id
    and are none of ours. `transfers`: open workflows of single transfers.
    """

    in_flight: int
    stuck: int
    refused: int
    others: int
    transfers: int
    stuck_transfers: int
    batches: int
    shown: list[StuckDocument]


async def look_at_sagas(client: Client) -> OpenSagas:
    """As of a moment ago, since visibility lags. Raises `RPCError`."""
    queries = (_OPEN, _STUCK, _TRANSFERS, _STUCK_TRANSFERS, _BATCHES)
    refused, others, *answers = await asyncio.gather(
        count_refused(client, REFUSED_WITHIN), count_others(client), *(_count(client, query) for query in queries)
    )
    in_flight, stuck, transfers, stuck_transfers, batches = answers
    shown = await _oldest_stuck(client) if stuck else []
    return OpenSagas(in_flight, stuck, refused, others, transfers, stuck_transfers, batches, shown)


async def _count(client: Client, query: str) -> int:
    return (await client.count_workflows(query)).count


async def _oldest_stuck(client: Client) -> list[StuckDocument]:
    listed = [each async for each in client.list_workflows(_STUCK, limit=STUCK_LISTED_MAX)]
    oldest = sorted(listed, key=lambda each: each.start_time)[:STUCK_SHOWN_MAX]
    return await asyncio.gather(*(_waits_for(client, each) for each in oldest))


async def _waits_for(client: Client, stuck: WorkflowExecution) -> StuckDocument:
    """The pending activity that has failed most often."""
    described = await client.get_workflow_handle(stuck.id, run_id=stuck.run_id).describe()
    pending = max(described.raw_description.pending_activities, key=lambda each: each.attempt, default=None)
    running = pending is not None and pending.state == PendingActivityState.PENDING_ACTIVITY_STATE_STARTED
    return StuckDocument(
        order_id=saga_id_of(stuck.id).removeprefix(order_saga_id("")),
        age_seconds=(datetime.now(UTC) - stuck.start_time).total_seconds(),
        step=pending.activity_type.name if pending is not None else None,
        attempts=pending.attempt - (0 if running else 1) if pending is not None else None,
        failure=ended_by(pending.last_failure)[1] if pending is not None else None,
        next_attempt_at=as_datetime(pending.scheduled_time) if pending is not None and not running else None,
    )
