"""The one document of a transfer: for `transfer` and `transfer show`."""

from __future__ import annotations

from domain.documents import Document
from domain.sagas import Reason, Refusal
from domain.timestamps import Timestamp
from domain.transfers import Protocol, Transfer, TransferStatus
from shards.transfers.transfer_row import TransferRow


class TransferDocument(Document):
    """`status`: settled, declined or pending. `amount` is a decimal string. `protocol` is null until one was begun."""

    transfer_id: str
    status: TransferStatus
    protocol: Protocol | None
    reason: Reason | None
    detail: str | None
    source: str
    target: str
    amount: str
    currency: str
    reference: str | None
    source_shard: str
    target_shard: str
    created_at: Timestamp | None = None
    decided_at: Timestamp | None = None
    workflow_id: str | None


def of_row(row: TransferRow, status: TransferStatus, shards: tuple[str, str]) -> TransferDocument:
    document = of_request(row.transfer, status, row.protocol, shards, row.refusal)
    only_its_row_knows: dict[str, object] = {"created_at": row.created_at, "decided_at": row.decided_at}
    if row.batch_id is not None:
        only_its_row_knows["workflow_id"] = None
    return document.model_copy(update=only_its_row_knows)


def of_request(
    transfer: Transfer,
    status: TransferStatus,
    protocol: Protocol | None,
    shards: tuple[str, str],
    refusal: Refusal | None = None,
) -> TransferDocument:
    """As it was requested, without what only its row knows."""
    return TransferDocument(
        transfer_id=transfer.transfer_id,
        status=status,
        protocol=protocol,
        reason=refusal.reason if refusal else None,
        detail=refusal.detail if refusal else None,
        source=transfer.source,
        target=transfer.target,
        amount=transfer.amount.amount,
        currency=transfer.amount.currency,
        reference=transfer.reference,
        source_shard=shards[0],
        target_shard=shards[1],
        workflow_id=transfer.saga_id,
    )
