"""Transfers: money from one account to another, and what the states of one mean.

    pending ──▶ confirmed ──▶ (credited on the target's shard)
       └──────▶ declined

The arrow out of `pending` is the decision, one compare-and-set on the transfer's row on its source's shard; it is never
taken back. The transfer's id is unique within its source account.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic.dataclasses import dataclass

from domain.argument_types import check_type
from domain.content import hash_of_content
from domain.errors import InvalidInput
from domain.identifiers import check_identifier, transfer_saga_id
from domain.money import Money, check_amount, check_currency
from domain.text import check_free_text

TRANSFER_COLUMNS = ("transfer_id", "source", "target", "amount", "currency", "reference")


class Protocol(StrEnum):
    """How a transfer's money moves, as its row keeps it.

    `local`: both accounts on one shard, one transaction. `bulk`: across shards, decided by a batch.
    """

    LOCAL = "local"
    SAGA = "saga"
    TWO_PHASE = "2pc"
    BULK = "bulk"

    def as_choice(self) -> ProtocolChoice:
        """What to request so that a transfer goes on as it was begun; `auto` if no caller can request that protocol."""
        return ProtocolChoice(self.value) if self.value in set(ProtocolChoice) else ProtocolChoice.AUTO


class ProtocolChoice(StrEnum):
    """What a caller may request. On one shard every choice runs as `local`; `auto` is `saga` across shards."""

    AUTO = "auto"
    LOCAL = "local"
    SAGA = "saga"
    TWO_PHASE = "2pc"

    def across_shards(self) -> Protocol | None:
        """None: refused, since a `local` transfer cannot cross shards."""
        match self:
            case ProtocolChoice.LOCAL:
                return None
            case ProtocolChoice.TWO_PHASE:
                return Protocol.TWO_PHASE
            case _:
                return Protocol.SAGA


class TransferState(StrEnum):
    """The states a transfer's row can be in."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    DECLINED = "declined"


class TransferStatus(StrEnum):
    """What people see, and the values of the search attribute `TransferStatus`.

    `settled`: the target has the money. `pending`: not decided, or decided and still on its way. Only the
    workflow knows `stuck`: a step has not succeeded for a while; it is an alarm, never final.
    """

    PENDING = "pending"
    SETTLED = "settled"
    DECLINED = "declined"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True)
class Transfer:
    """A request for a transfer. `amount` is positive."""

    transfer_id: str
    source: str
    target: str
    amount: Money
    reference: str | None = None

    @property
    def saga_id(self) -> str:
        return transfer_saga_id(self.source, self.transfer_id)

    @property
    def content_hash(self) -> str:
        """Equal for equal requests. The protocol is no part of the content."""
        return hash_of_content([self.transfer_id, self.source, self.target, str(self.amount), self.reference])


def check_transfer(transfer: Transfer) -> Transfer:
    """The rules that hold for any transfer whatever its source of input, or `InvalidInput`."""
    check_type(transfer, Transfer, "transfer")
    check_identifier(transfer.transfer_id, "transfer_id")
    check_identifier(transfer.source, "source")
    check_identifier(transfer.target, "target")
    if transfer.source == transfer.target:
        raise InvalidInput("target", f"target: expected another account than the source {transfer.source}")
    check_amount(transfer.amount, "amount", above_zero=True)
    if transfer.reference is not None:
        check_free_text(transfer.reference, "reference", chars_min=1)
    return transfer


def transfer_of_row(row: Mapping[str, str]) -> Transfer:
    """One line of a file with `TRANSFER_COLUMNS`. `InvalidInput` naming the column and what was expected."""
    amount = Money.parse(row["amount"], check_currency(row["currency"]))
    return check_transfer(Transfer(row["transfer_id"], row["source"], row["target"], amount, row["reference"] or None))
