"""The document of `recover`: what it found and did."""

from __future__ import annotations

from domain.documents import Document
from domain.in_doubt import InDoubtReport
from domain.orders import OrderStatus
from domain.transfers import TransferState
from shards.audit.findings import Violation
from shardwise.operations.recovery import Found


class RecoveredOrder(Document):
    """`status` is its row's; None if its workflow ended before it wrote one."""

    order_id: str
    status: OrderStatus | None
    started: bool


class RecoveredTransfer(Document):
    """`state` is its row's; None if its workflow ended before it wrote one."""

    source: str
    transfer_id: str
    state: TransferState | None
    started: bool


class RecoveredBatch(Document):
    batch_id: str
    started: bool


class RefusedStartDocument(Document):
    """A start that no rule allows, and that began nothing."""

    workflow_id: str
    code: str
    message: str
    field: str | None


class RecoverReport(Document):
    """`started` is false in a dry run. `damage`: what no workflow can repair."""

    dry_run: bool
    orders: list[RecoveredOrder]
    transfers: list[RecoveredTransfer]
    refused: list[RefusedStartDocument]
    batches: list[RecoveredBatch]
    damage: list[Violation]
    in_doubt: InDoubtReport


def report_of(found: Found, in_doubt: InDoubtReport, dry_run: bool) -> RecoverReport:
    started = not dry_run
    return RecoverReport(
        dry_run=dry_run,
        orders=[RecoveredOrder(order_id=x.order_id, status=x.status, started=started) for x in found.orders],
        transfers=[
            RecoveredTransfer(source=x.key[0], transfer_id=x.key[1], state=x.state, started=started)
            for x in found.transfers
        ],
        refused=[
            RefusedStartDocument(
                workflow_id=x.workflow_id, code=x.fault.code, message=x.fault.message, field=x.fault.field
            )
            for x in found.refused
        ],
        batches=[RecoveredBatch(batch_id=each, started=started) for each in found.batches],
        damage=list(found.damage),
        in_doubt=in_doubt,
    )
