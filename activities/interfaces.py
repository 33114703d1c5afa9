"""What workflows see of the activities: names, arguments, results and their contract. No SQL behind these imports.

Every effect here is idempotent by (saga id, step): calling again returns the stored answer, refusals included. A
refusal is a result. What is raised is a failure: Temporal tries again, except for `integrity_violation`, which no
retry can mend.

If a worker crashes during any of them, its transaction has happened as a whole or not at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import field

from pydantic.dataclasses import dataclass
from temporalio import activity

from domain.in_doubt import InDoubtReport
from domain.money import Money
from domain.orders import Order, PricedLine
from domain.sagas import Decision, Refusal
from domain.transfer_batch import Round
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferState
from domain.two_phase import Ended, Participant, Vote


@dataclass(frozen=True, slots=True)
class StockShare:
    """The part of an order whose stock lies in one SKU range. `shard` is for people: routing asks the map again."""

    sku_range: str
    shard: str
    quantities: dict[str, int]


@dataclass(frozen=True, slots=True)
class Claimed:
    """`refusal` where the id already names another order."""

    refusal: Refusal | None
    stock: tuple[StockShare, ...] = ()


@dataclass(frozen=True, slots=True)
class Priced:
    refusal: Refusal | None
    lines: tuple[PricedLine, ...] = ()


@dataclass(frozen=True, slots=True)
class OpenOrder:
    order: Order
    lines: tuple[PricedLine, ...]
    total: Money


@dataclass(frozen=True, slots=True)
class DecideOrder:
    """`refusal` None asks to confirm, otherwise to abort for that reason."""

    order_id: str
    customer_id: str
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class AbortOrder:
    order_id: str
    customer_id: str
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class RefuseOrderId:
    order: Order
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class StockStep:
    saga_id: str
    currency: str
    share: StockShare


@dataclass(frozen=True, slots=True)
class CreditMerchant:
    saga_id: str
    customer_id: str
    amount: Money


@dataclass(frozen=True, slots=True)
class StepResult:
    """`refusal` None: done."""

    refusal: Refusal | None = field(default=None)


@dataclass(frozen=True, slots=True)
class OpenTransfer:
    transfer: Transfer
    protocol: ProtocolChoice = ProtocolChoice.AUTO


@dataclass(frozen=True, slots=True)
class OpenedTransfer:
    """The transfer's row as it stands, with the protocol that was begun. Without a `state` it has no row: what was
    asked for is refused and left nothing. `declined_at_once`: by the transaction that opened it, so nothing was begun
    elsewhere. The shards are for people: routing asks the map again.
    """

    refusal: Refusal | None
    source_shard: str
    target_shard: str
    protocol: Protocol | None = None
    state: TransferState | None = None
    declined_at_once: bool = False


@dataclass(frozen=True, slots=True)
class DecideTransfer:
    """`refusal` None asks to confirm, otherwise to decline for that reason."""

    transfer: Transfer
    protocol: Protocol
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class ParticipantStep:
    transfer: Transfer
    participant: Participant


@dataclass(frozen=True, slots=True)
class AbortParticipant:
    transfer: Transfer
    participant: Participant
    refusal: Refusal


@dataclass(frozen=True, slots=True)
class ResolveInDoubt:
    older_than_seconds: float


class OrderActivities(ABC):
    """The order's own rows: the lookup of its id, and the order on its customer's shard."""

    @activity.defn(name="claim_order_id")
    @abstractmethod
    async def claim_order_id(self, order: Order) -> Claimed:
        """Takes the order's id for ever and plans which stock lies where, on the shard of the order id.

        Idempotent by order id and content: the same request gets its first plan back, another is refused with
        `id_conflict`. Never undone.
        """

    @activity.defn(name="price_lines")
    @abstractmethod
    async def price_lines(self, order: Order) -> Priced:
        """The lines with the catalogue's price where none was agreed. Only reads; refuses `unknown_sku`,
        `currency_mismatch`. Two calls can differ: the order's row keeps the prices of the first that opened it.
        """

    @activity.defn(name="open_order")
    @abstractmethod
    async def open_order(self, request: OpenOrder) -> StepResult:
        """Writes the order, pending, and holds its payment, on the customer's shard.

        Refuses `unknown_customer` (no row is left), `currency_mismatch`, `account_not_open`,
        `insufficient_funds`. Undone by `abort_order`.
        """

    @activity.defn(name="decide_order")
    @abstractmethod
    async def decide_order(self, request: DecideOrder) -> Decision:
        """The pivot: one compare-and-set on the order's row. Confirming captures the payment and requests the
        shipment in the same transaction. The first decision wins and every call answers it.

        Never undone: after `confirmed` only forward, after anything else all steps are undone.
        """

    @activity.defn(name="abort_order")
    @abstractmethod
    async def abort_order(self, request: AbortOrder) -> None:
        """Undoes `open_order`: releases the hold and closes the row as rejected or cancelled. Only after the
        decision to abort; nothing where `open_order` never ran, which then never will.
        """

    @activity.defn(name="refuse_order_id")
    @abstractmethod
    async def refuse_order_id(self, request: RefuseOrderId) -> None:
        """Keeps on the lookup row why an order was refused before it had a row of its own. Never undone."""


class StockActivities(ABC):
    """Stock of one SKU range."""

    @activity.defn(name="reserve_stock")
    @abstractmethod
    async def reserve_stock(self, request: StockStep) -> StepResult:
        """Reserves the whole share or nothing. Refuses `unknown_sku`, `currency_mismatch`, `out_of_stock`.

        Undone by `release_stock`, ended by `consume_stock`.
        """

    @activity.defn(name="release_stock")
    @abstractmethod
    async def release_stock(self, request: StockStep) -> None:
        """Undoes `reserve_stock`; where that never ran, it never will."""

    @activity.defn(name="consume_stock")
    @abstractmethod
    async def consume_stock(self, request: StockStep) -> None:
        """What was reserved has left the house. Only after `confirmed`; forward only, cannot be refused."""


class PaymentActivities(ABC):
    """Money that arrives on another shard."""

    @activity.defn(name="credit_merchant")
    @abstractmethod
    async def credit_merchant(self, request: CreditMerchant) -> None:
        """Moves what was captured from clearing to the merchant of its currency, on the merchant's shard.

        Only after `confirmed`; forward only, cannot be refused. Until it has run, `verify` shows the amount as
        in flight.
        """


class TransferActivities(ABC):
    """Both sides of a transfer. The source's row and the target's admission are the barriers of what happens there."""

    @activity.defn(name="open_transfer")
    @abstractmethod
    async def open_transfer(self, request: OpenTransfer) -> OpenedTransfer:
        """Takes the id on the source's shard and begins: on one shard the whole transfer, across shards by saga the
        hold, by two-phase commit no more than the id.

        Idempotent by source, id and content. Refuses `id_conflict` and `not_local`, which leave nothing; any other
        refusal declines the transfer for ever: `unknown_account`, `currency_mismatch`, `account_not_open`,
        `insufficient_funds`. A hold is undone by `decide_transfer` with a refusal.
        """

    @activity.defn(name="admit_transfer")
    @abstractmethod
    async def admit_transfer(self, transfer: Transfer) -> StepResult:
        """The target's promise to accept, on its shard. Refuses `unknown_account`, `account_not_open`,
        `currency_mismatch`. Undone by `withdraw_admission`, kept by `credit_transfer`.
        """

    @activity.defn(name="decide_transfer")
    @abstractmethod
    async def decide_transfer(self, request: DecideTransfer) -> Decision:
        """The pivot: one compare-and-set on the transfer's row. Confirming captures the hold, declining releases it, in
        the same transaction. The first decision wins and every call answers it.

        Never undone: after `confirmed` only forward, after anything else the admission is withdrawn.
        """

    @activity.defn(name="credit_transfer")
    @abstractmethod
    async def credit_transfer(self, transfer: Transfer) -> None:
        """Moves what was captured from clearing to the target. Only after `confirmed`; forward only, cannot be refused.

        Until it has run, `verify` shows the amount as in flight.
        """

    @activity.defn(name="withdraw_admission")
    @abstractmethod
    async def withdraw_admission(self, transfer: Transfer) -> None:
        """Undoes `admit_transfer`; where that never ran, it never will."""


class TwoPhaseActivities(ABC):
    """The phases of a two-phase commit, for one participant each. Run them as regular activities only: the votes and
    the decision have to be in the history, and scheduling the first commit is what records the decision.

    The source's row is where the decision falls: it is committed or aborted first, and the target follows its answer.
    """

    @activity.defn(name="prepare_participant")
    @abstractmethod
    async def prepare_participant(self, request: ParticipantStep) -> Vote:
        """Phase one: the participant's whole part, prepared on its shard. One participant after the other, in the order
        of `in_prepare_order`.

        Votes no with `unknown_account`, `account_not_open`, `currency_mismatch`, `insufficient_funds`, or
        `already_compensated` where it was aborted before. Undone by `abort_participant`.

        If we crash during this phase, each participant has voted or has not: what was prepared stays so, with its
        locks, and is found by the next attempt. Nothing is decided, so whoever comes next may still abort.
        """

    @activity.defn(name="commit_participant")
    @abstractmethod
    async def commit_participant(self, request: ParticipantStep) -> Ended:
        """Phase two, after every vote was yes. Forward only. The source answers `aborted` where another coordinator was
        first; then the target has to be aborted.

        If we crash during this phase, the decision is in the history, and in the source's row once that is committed;
        the money is debited and perhaps not yet credited. The next attempt commits the rest.
        """

    @activity.defn(name="abort_participant")
    @abstractmethod
    async def abort_participant(self, request: AbortParticipant) -> Ended:
        """Phase two, for any no. Bars the participant from being prepared late. The source answers `committed` where
        another coordinator was first; then the target has to be committed.

        If we crash during this phase, the source's row is declined or still pending; what is still prepared keeps its
        locks until the next attempt rolls it back. No money has moved.
        """


class InDoubtActivities(ABC):
    """Prepared transactions whose coordinator is gone."""

    @activity.defn(name="resolve_in_doubt")
    @abstractmethod
    async def resolve_in_doubt(self, request: ResolveInDoubt) -> InDoubtReport:
        """Ends what is in doubt on all shards and older than this: by the decision in its workflow's history, else by
        the participants' rows. What a running workflow works on is left alone, and what may have been committed on a
        shard that does not answer waits.

        Idempotent. If we crash here, some are ended and the next sweep finds the others.
        """


@dataclass(frozen=True, slots=True)
class BatchStretch:
    """Lines of one source shard behind line `after`, in the order of the file: `lines` of them, `chunk_lines` in one
    transaction. `round_` is the first or the second (see `domain.transfer_batch`)."""

    batch_id: str
    shard: str
    round_: Round
    after: int
    lines: int
    chunk_lines: int


@dataclass(frozen=True, slots=True)
class BatchCounts:
    """Lines by what became of them. `others`: transfers that were begun elsewhere, and are left to themselves."""

    settled: int = 0
    declined: int = 0
    postponed: int = 0
    others: int = 0

    def __add__(self, more: BatchCounts) -> BatchCounts:
        return BatchCounts(
            self.settled + more.settled,
            self.declined + more.declined,
            self.postponed + more.postponed,
            self.others + more.others,
        )


@dataclass(frozen=True, slots=True)
class StretchDone:
    """`last` is the last line that was looked at; None: this shard has no more in this round."""

    last: int | None
    counts: BatchCounts


class TransferBatchActivities(ABC):
    """Many transfers at once. Their rows and admissions are the same as a single transfer's, and so are its rules."""

    @activity.defn(name="carry_out_lines")
    @abstractmethod
    async def carry_out_lines(self, stretch: BatchStretch) -> StretchDone:
        """Chunk by chunk: admits what goes to other shards, decides on the source's shard in the order of the file,
        credits or withdraws on the targets' shards.

        Idempotent by line: one that has its transfer is only led to its end, one that was postponed waits for the
        second round. A crash leaves whole transactions, which the next attempt continues. Forward only, cannot be
        refused as a whole. Call it for one shard and round in the order of the lines.
        """

    @activity.defn(name="finish_batch")
    @abstractmethod
    async def finish_batch(self, batch_id: str) -> None:
        """Notes in the catalog that the staged lines are no longer needed. Idempotent."""
