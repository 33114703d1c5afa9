"""Transfers of money: move, show, import."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from domain.choices import choice
from domain.errors import InvalidInput, NotFound, Refused, Unreachable
from domain.identifiers import check_identifier, transfer_saga_id
from domain.money import Money, check_currency
from domain.numbers import check_seconds
from domain.progress import Report, no_report
from domain.sagas import Reason
from domain.text import check_free_text
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferState, TransferStatus, check_transfer
from shards.accounts.reads import read_currency
from shards.audit.workflows import Work
from shards.routing.router import Reads, Router
from shards.transfers import reads as transfer_reads
from shards.transfers.transfer_row import TransferRow
from shardwise.connections import Installation
from shardwise.files.order_file import path_of
from shardwise.new_ids import new_id
from shardwise.reading import Reading
from shardwise.temporal.calls import WorkflowFailed
from shardwise.transfers.documents import TransferDocument, of_request, of_row
from shardwise.transfers.importing import ImportedTransfers, import_transfers
from shardwise.transfers.sagas import TransferSagas
from workflows.interfaces import TransferResult

CURRENCY_OF_UNKNOWN_ACCOUNTS = "USD"
# The currency with the most decimals: an amount that is wrong in it is wrong in every currency.
MOST_DECIMALS = "CLF"
WAIT_SECONDS = 30.0
NO_WORKER = "no worker polls for transfers: this one waits for one (`shardwise up` or `shardwise worker`)"


class Transfers:
    """Raises `InvalidInput` naming the argument, `Refused`, `NotFound` with `unknown_transfer`, and `Unreachable`."""

    def __init__(self, installation: Installation, reading: Reading) -> None:
        self._installation = installation
        self._reading = reading

    @property
    def _router(self) -> Router:
        return self._installation.with_timeouts.router

    @cached_property
    def _sagas(self) -> TransferSagas:
        return TransferSagas(self._installation.with_timeouts.temporal, self._installation.settings)

    async def move(
        self,
        source: str,
        target: str,
        amount: str,
        protocol: ProtocolChoice | str = ProtocolChoice.AUTO,
        transfer_id: str | None = None,
        currency: str | None = None,
        reference: str | None = None,
        wait: float = WAIT_SECONDS,
        say: Callable[[str], None] | None = None,
    ) -> TransferDocument:
        """Moves money, a decimal `amount` in the currency of the source's account if none is given. See `move_as`.

        Across shards by the protocol `saga`, `2pc` or `auto`; within one shard in one transaction. Without a
        `transfer_id`, which is unique within the source, it gets a new one, and a repeat is another transfer.
        `say` is called with a message if no worker polls, so that the transfer will wait for one.
        """
        chosen = new_id() if transfer_id is None else check_identifier(transfer_id, "transfer_id")
        # Checked before a `Transfer` is made, whose pydantic message about a wrong type would be unclear.
        check_identifier(source, "source")
        check_identifier(target, "target")
        if reference is not None:
            check_free_text(reference, "reference", chars_min=1)
        by = choice(ProtocolChoice, protocol, "protocol")

        def transfer(currency: str) -> Transfer:
            money = Money.parse(amount, currency)
            if money.minor <= 0:  # The domain's message would show the currency's decimals.
                raise InvalidInput("amount", f"amount: expected more than zero, got {amount}")
            return check_transfer(Transfer(chosen, source, target, money, reference))

        # What is wrong in any currency is reported before anything is read from a shard.
        transfer(check_currency(currency) if currency is not None else MOST_DECIMALS)
        requested = transfer(currency or await self._currency_of(source))
        if say is not None and not await self.has_worker():
            say(NO_WORKER)
        return await self.move_as(requested, by, wait)

    async def move_as(
        self, transfer: Transfer, protocol: ProtocolChoice = ProtocolChoice.AUTO, wait: float = WAIT_SECONDS
    ) -> TransferDocument:
        """Returns the transfer when it is settled or declined, or as it is after `wait` seconds.

        Idempotent by source, id and content, whatever protocol a repeat names; `Refused` with `id_conflict` if the id
        has other content. Once started, the transfer is carried out whatever becomes of the caller. `Unreachable` if it
        may not have started: place it again under the same id.
        """
        check_transfer(transfer)
        check_seconds(wait, "wait")
        document = await self._moved(transfer, protocol, wait)
        is_final = document.status is not TransferStatus.PENDING
        await self._reading.wrote(lambda m: [m.of_account(transfer.source), m.of_account(transfer.target)], is_final)
        return document

    async def _moved(self, transfer: Transfer, protocol: ProtocolChoice, wait: float) -> TransferDocument:
        with contextlib.suppress(Unreachable):  # It is accepted all the same, and waits for its shard.
            row = await self._row(transfer.source, transfer.transfer_id)
            if row is not None:
                _assert_same_content(transfer, row.content_hash)
                document = await self._document(row)
                if document.status is not TransferStatus.PENDING:
                    return document
        shards = await self._shards(transfer)
        result = None
        with contextlib.suppress(WorkflowFailed):  # The row says how far it came.
            result = await self._sagas.carry_out(transfer, protocol, shards[0], wait)
        if result is not None:
            _assert_own(transfer, result)
            return of_request(transfer, result.status, result.protocol, shards, result.refusal)
        return await self._just_placed(transfer, shards)

    async def show(self, source: str, transfer_id: str) -> TransferDocument:
        """The transfer as it is now. `NotFound` with `unknown_transfer` if there is none."""
        check_identifier(source, "source")
        check_identifier(transfer_id, "transfer_id")
        row = await self._row(source, transfer_id, self._reading.strong())
        return await self._document(row) if row is not None else await self._without_row(source, transfer_id)

    async def has_worker(self) -> bool:
        """Whether a worker polls for transfers. Without one, they are taken and wait."""
        return await self._sagas.has_worker()

    async def import_file(
        self, file: str | Path, say: Callable[[str], None], report: Report = no_report, stuck_after: float = 60.0
    ) -> ImportedTransfers:
        """Carries out every transfer of a CSV file as one batch, and writes NAME.outcomes.csv beside it.

        Safe to repeat: the same file joins its batch, and moves nothing twice. Killed at any point, the batch goes on
        by itself, and the next import of the file joins it. Returns also when nothing has moved for `stuck_after`
        seconds. `say` is called with messages for a person, such as invalid lines. `InvalidInput` if the file is
        unusable.
        """
        check_seconds(stuck_after, "stuck_after", above_zero=True)
        imported = await import_transfers(self._installation, path_of(file), say, report, stuck_after)
        await self._reading.wrote_anywhere()
        return imported

    async def _currency_of(self, source: str) -> str:
        try:
            currency = await self._router.read(
                lambda m: m.of_account(source), lambda tx: read_currency(tx.connection, source)
            )
        except Unreachable as error:
            message = f"{error.message}; nothing was begun"
            raise Unreachable(error.code, message) from error
        return currency or CURRENCY_OF_UNKNOWN_ACCOUNTS

    async def _row(self, source: str, transfer_id: str, reads: Reads | None = None) -> TransferRow | None:
        key = [(source, transfer_id)]
        rows = await (reads or self._router).read(
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
        """False also if the target's shard does not answer: then it is not known."""
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
        """For a transfer without a row: not opened yet, or not until `recover`. `NotFound` also if it was refused with
        nothing begun."""
        saga_id = transfer_saga_id(source, transfer_id)
        workflow = await self._sagas.state_of(saga_id)
        if workflow is None:
            message = f"no shard knows transfer {transfer_id}; Temporal, which might, does not answer"
            raise Unreachable("temporal_unreachable", message)
        may_come = workflow.work is not Work.ABSENT and not workflow.completed
        refused: InvalidInput | None = None
        request = None
        try:
            request = await self._sagas.request_of(saga_id) if may_come else None
        except InvalidInput as fault:
            refused = fault
        row = await self._row(source, transfer_id)
        if row is not None:
            return await self._document(row)
        if refused is not None:
            what = f"transfer {transfer_id} of account {source}"
            message = f"{what} cannot be carried out as it was started: {refused.message}"
            raise Refused(refused.code, message, refused.field)
        if request is None:
            raise NotFound("unknown_transfer", f"account {source} has no transfer {transfer_id}")
        transfer = request.transfer
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
