"""The transfer desk: what people and programs may ask about transfers, whatever they ask through. Prints nothing."""

from __future__ import annotations

import contextlib

from cli.connections import Connections
from cli.saga_calls import SagaBroke
from cli.transfer_documents import TransferDocument, of_request, of_row
from cli.transfer_sagas import TransferSagas
from cli.workflow_states import Work
from domain.errors import InvalidInput, Refused, Unreachable
from domain.identifiers import check_identifier, transfer_saga_id
from domain.sagas import Reason
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferState, TransferStatus
from shards import transfer_reads
from shards.account_reads import read_currency
from shards.transfers import TransferRow
from stack.settings import Settings
from workflows.interfaces import TransferResult


class TransferDesk:
    def __init__(self, connections: Connections, settings: Settings) -> None:
        self._router = connections.router
        self._sagas = TransferSagas(connections.temporal, settings)

    async def place(self, transfer: Transfer, protocol: ProtocolChoice, wait_seconds: float) -> TransferDocument:
        """The transfer as it stands when it is settled or declined, or after `wait_seconds`.

        Idempotent by source, id and content, whatever protocol a repeat asks for; the same id with other content is
        `Refused` with `id_conflict`. From its start the transfer is carried out whatever becomes of the caller.
        `Unreachable` where it may not have started: place it again under the same id.
        """
        with contextlib.suppress(Unreachable):  # It is taken all the same, and waits for its shard.
            row = await self._row(transfer.source, transfer.transfer_id)
            if row is not None:
                _assert_same_content(transfer, row.content_hash)
                document = await self._document(row)
                if document.status is not TransferStatus.PENDING:
                    return document
        shards = await self._shards(transfer)
        result = None
        with contextlib.suppress(SagaBroke):  # The row says how far it came.
            result = await self._sagas.carry_out(transfer, protocol, shards[0], wait_seconds)
        if result is not None:
            _assert_own(transfer, result)
            return of_request(transfer, result.status, result.protocol, shards, result.refusal)
        return await self._just_placed(transfer, shards)

    async def show(self, source: str, transfer_id: str) -> TransferDocument:
        """`Refused` with `unknown_transfer` where there is none."""
        check_identifier(source, "source")
        check_identifier(transfer_id, "transfer_id")
        row = await self._row(source, transfer_id)
        return await self._document(row) if row is not None else await self._without_row(source, transfer_id)

    async def currency_of(self, account_id: str) -> str | None:
        """None for an unknown account."""
        return await self._router.read(
            lambda m: m.of_account(account_id), lambda tx: read_currency(tx.connection, account_id)
        )

    async def has_worker(self) -> bool:
        """Whether a worker polls for transfers. Without one, they are taken and wait."""
        return await self._sagas.has_worker()

    async def _row(self, source: str, transfer_id: str) -> TransferRow | None:
        key = [(source, transfer_id)]
        rows = await self._router.read(
            lambda m: m.of_account(source), lambda tx: transfer_reads.read_transfers(tx, key)
        )
        return rows[0] if rows else None

    async def _document(self, row: TransferRow) -> TransferDocument:
        status = TransferStatus.PENDING
        if row.state is TransferState.DECLINED:
            status = TransferStatus.DECLINED
        elif row.state is TransferState.CONFIRMED and await self._has_arrived(row):
            status = TransferStatus.SETTLED
        return of_row(row, status, await self._shards(row.transfer))

    async def _has_arrived(self, row: TransferRow) -> bool:
        """False also where the target's shard does not answer: then nobody knows."""
        if row.protocol is Protocol.LOCAL:
            return True
        transfer = row.transfer
        with contextlib.suppress(Unreachable):
            arrived = await self._router.read(
                lambda m: m.of_account(transfer.target), lambda tx: transfer_reads.credited(tx, [transfer.saga_id])
            )
            return bool(arrived)
        return False

    async def _just_placed(self, transfer: Transfer, shards: tuple[str, str]) -> TransferDocument:
        row = None
        with contextlib.suppress(Unreachable):
            row = await self._row(transfer.source, transfer.transfer_id)
        if row is None:
            return of_request(transfer, TransferStatus.PENDING, None, shards)
        _assert_same_content(transfer, row.content_hash)
        return await self._document(row)

    async def _without_row(self, source: str, transfer_id: str) -> TransferDocument:
        """Placed, but not opened yet, or not until `recover`. Unknown: also what was refused with nothing begun."""
        saga_id = transfer_saga_id(source, transfer_id)
        workflow = await self._sagas.state_of(saga_id)
        if workflow is None:
            message = f"no shard knows transfer {transfer_id}; Temporal, which might, does not answer"
            raise Unreachable("temporal_unreachable", message)
        may_come = workflow.work is not Work.ABSENT and not workflow.completed
        refused: InvalidInput | None = None
        asked = None
        try:
            asked = await self._sagas.asked_for(saga_id) if may_come else None
        except InvalidInput as fault:
            refused = fault
        row = await self._row(source, transfer_id)
        if row is not None:
            return await self._document(row)
        if refused is not None:
            what = f"transfer {transfer_id} of account {source}"
            message = f"{what} cannot be carried out as it was started: {refused.message}"
            raise Refused(refused.code, message, refused.field)
        if asked is None:
            raise Refused("unknown_transfer", f"account {source} has no transfer {transfer_id}")
        transfer = asked.transfer
        return of_request(transfer, TransferStatus.PENDING, None, await self._shards(transfer))

    async def _shards(self, transfer: Transfer) -> tuple[str, str]:
        shard_map = await self._router.map()
        return shard_map.of_account(transfer.source).shard, shard_map.of_account(transfer.target).shard


def _assert_own(transfer: Transfer, result: TransferResult) -> None:
    _assert_same_content(transfer, result.content_hash)
    if result.refusal is not None and result.refusal.reason is Reason.ID_CONFLICT:
        raise _other_content(transfer)


def _assert_same_content(transfer: Transfer, content_hash: str) -> None:
    if content_hash != transfer.content_hash:
        raise _other_content(transfer)


def _other_content(transfer: Transfer) -> Refused:
    what = f"transfer id {transfer.transfer_id} of account {transfer.source}"
    return Refused(Reason.ID_CONFLICT, f"{what} already names a transfer with other content")
