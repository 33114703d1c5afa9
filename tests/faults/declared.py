"""What the battery must know about each activity of the sagas. An activity that is not declared here fails a test."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from domain.orders import OrderStatus
from domain.sagas import Reason
from domain.steps import Phase, Step
from domain.transfers import TransferStatus

Mode = Literal["local_first", "regular"]
MODES: tuple[Mode, ...] = ("local_first", "regular")


class Kind(StrEnum):
    """Kinds of orders and transfers, by how they end when nothing goes wrong."""

    SOUND = "sound"
    SHORT = "short of stock"
    """One of its two SKU ranges has too little; what the other one reserved must be given back."""
    UNKNOWN_CUSTOMER = "of an unknown customer"
    """Its customer does not exist: refused before it has a row."""

    CHOREOGRAPHED = "choreographed"
    CHOREOGRAPHED_SHORT = "choreographed, short of stock"
    CHOREOGRAPHED_POOR = "choreographed, by somebody poor"
    """Its stock is reserved, and its payment refused."""

    SENT = "sent by saga"
    UNWELCOME = "to a frozen account"
    LOCAL = "within a shard"
    SOURCE = "by 2pc, the source"
    """Of the two participants, the fault befalls the source."""
    TARGET = "by 2pc, the target"
    SOURCE_VETOED = "vetoed by the target, the source"
    TARGET_VETOED = "vetoed by the source, the target"


CHOREOGRAPHED = frozenset({Kind.CHOREOGRAPHED, Kind.CHOREOGRAPHED_SHORT, Kind.CHOREOGRAPHED_POOR})
TWO_PHASE = frozenset({Kind.SOURCE, Kind.TARGET, Kind.SOURCE_VETOED, Kind.TARGET_VETOED})
OF_TARGET = frozenset({Kind.TARGET, Kind.TARGET_VETOED})
TRANSFERS = TWO_PHASE | {Kind.SENT, Kind.UNWELCOME, Kind.LOCAL}


class Group(StrEnum):
    """What is printed as a table of its own."""

    ORDERS = "orders"
    CHOREOGRAPHED = "choreographed orders"
    TRANSFERS = "transfers"


def group_of(kind: Kind) -> Group:
    if kind in CHOREOGRAPHED:
        return Group.CHOREOGRAPHED
    return Group.TRANSFERS if kind in TRANSFERS else Group.ORDERS


@dataclass(frozen=True, slots=True)
class Ending:
    status: OrderStatus | TransferStatus
    reason: Reason | None = None

    @property
    def is_success(self) -> bool:
        return self.reason is None


ENDINGS = {
    Kind.SOUND: Ending(OrderStatus.CONFIRMED),
    Kind.SHORT: Ending(OrderStatus.REJECTED, Reason.OUT_OF_STOCK),
    Kind.UNKNOWN_CUSTOMER: Ending(OrderStatus.REJECTED, Reason.UNKNOWN_CUSTOMER),
    Kind.CHOREOGRAPHED: Ending(OrderStatus.CONFIRMED),
    Kind.CHOREOGRAPHED_SHORT: Ending(OrderStatus.REJECTED, Reason.OUT_OF_STOCK),
    Kind.CHOREOGRAPHED_POOR: Ending(OrderStatus.REJECTED, Reason.INSUFFICIENT_FUNDS),
    Kind.SENT: Ending(TransferStatus.SETTLED),
    Kind.UNWELCOME: Ending(TransferStatus.DECLINED, Reason.ACCOUNT_NOT_OPEN),
    Kind.LOCAL: Ending(TransferStatus.SETTLED),
    Kind.SOURCE: Ending(TransferStatus.SETTLED),
    Kind.TARGET: Ending(TransferStatus.SETTLED),
    Kind.SOURCE_VETOED: Ending(TransferStatus.DECLINED, Reason.ACCOUNT_NOT_OPEN),
    Kind.TARGET_VETOED: Ending(TransferStatus.DECLINED, Reason.INSUFFICIENT_FUNDS),
}


@dataclass(frozen=True, slots=True)
class Declared:
    """`kinds`: those whose sagas reach this step. `refuses`: every reason that it can return by itself, of the
    first kind. `modes`: one only if it is never run locally. `commits_by_itself`: its transaction has no
    border to stop at, because it is prepared and ended in statements of its own. `never`: faults, by their class, that
    cannot befall it. What undoes it, and whether it comes before the decision, `domain.steps` says.
    """

    step: Step
    kinds: tuple[Kind, ...]
    refuses: tuple[Reason, ...] = ()
    modes: tuple[Mode, ...] = MODES
    commits_by_itself: bool = False
    never: tuple[str, ...] = ()

    @property
    def undone_by(self) -> Step | None:
        return self.step.undone_by

    @property
    def undecided(self) -> bool:
        """It runs before the decision, so a cancel can win."""
        return self.step.phase is Phase.FORWARD

    @property
    def is_of_transfers(self) -> bool:
        return self.kinds[0] in TRANSFERS

    @property
    def groups(self) -> set[Group]:
        return {group_of(kind) for kind in self.kinds}

    def refused(self, reason: Reason) -> Ending:
        return Ending(TransferStatus.DECLINED if self.is_of_transfers else OrderStatus.REJECTED, reason)

    @property
    def cancelled(self) -> Ending:
        status = TransferStatus.DECLINED if self.is_of_transfers else OrderStatus.CANCELLED
        return Ending(status, Reason.CANCELLED)


REGULAR: tuple[Mode, ...] = ("regular",)
_OF_ACCOUNTS = (Reason.UNKNOWN_ACCOUNT, Reason.CURRENCY_MISMATCH, Reason.ACCOUNT_NOT_OPEN)

_DECLARED = (
    Declared(Step.CLAIM_ORDER_ID, (Kind.SOUND,), refuses=(Reason.ID_CONFLICT,)),
    Declared(Step.PRICE_LINES, (Kind.SOUND,), refuses=(Reason.UNKNOWN_SKU, Reason.CURRENCY_MISMATCH)),
    Declared(
        Step.OPEN_ORDER,
        (Kind.SOUND,),
        refuses=(
            Reason.UNKNOWN_CUSTOMER,
            Reason.CURRENCY_WITHDRAWN,
            Reason.CURRENCY_MISMATCH,
            Reason.ACCOUNT_NOT_OPEN,
            Reason.INSUFFICIENT_FUNDS,
        ),
    ),
    Declared(
        Step.RESERVE_STOCK,
        (Kind.SOUND, Kind.CHOREOGRAPHED),
        refuses=(Reason.UNKNOWN_SKU, Reason.CURRENCY_MISMATCH, Reason.OUT_OF_STOCK),
    ),
    Declared(Step.DECIDE_ORDER, (Kind.SOUND, Kind.SHORT, Kind.UNKNOWN_CUSTOMER, Kind.CHOREOGRAPHED)),
    Declared(Step.CONSUME_STOCK, (Kind.SOUND, Kind.CHOREOGRAPHED)),
    Declared(Step.CREDIT_MERCHANT, (Kind.SOUND, Kind.CHOREOGRAPHED)),
    Declared(Step.RELEASE_STOCK, (Kind.SHORT, Kind.CHOREOGRAPHED_SHORT)),
    Declared(Step.ABORT_ORDER, (Kind.SHORT, Kind.UNKNOWN_CUSTOMER, Kind.CHOREOGRAPHED_POOR)),
    Declared(Step.REFUSE_ORDER_ID, (Kind.UNKNOWN_CUSTOMER,)),
    # The decision bars it, and its undo is not called if there was no row.
    Declared(
        Step.PLACE_ORDER,
        (Kind.CHOREOGRAPHED,),
        refuses=(Reason.UNKNOWN_CUSTOMER, Reason.CURRENCY_WITHDRAWN),
        never=("DoComesLate", "CommitsUnderItsUndo", "UndoFails"),
    ),
    # Nobody cancels it: what it records has happened already. Nor can an undecided order be undone.
    Declared(
        Step.JOIN_STOCK,
        (Kind.CHOREOGRAPHED,),
        never=("UndoComesFirst", "DoComesLate by temporal", "CommitsUnderItsUndo", "UndoFails"),
    ),
    # Once it is done the next reactor is on its way to the decision, whatever is cancelled here; a reactor that
    # is cancelled before records so by the same step, which waits at its barrier where the undo would.
    Declared(
        Step.HOLD_PAYMENT,
        (Kind.CHOREOGRAPHED,),
        refuses=(Reason.CURRENCY_MISMATCH, Reason.ACCOUNT_NOT_OPEN, Reason.INSUFFICIENT_FUNDS),
        never=("UndoComesFirst", "CommitsUnderItsUndo", "UndoFails"),
    ),
    Declared(Step.JOIN_RELEASE, (Kind.CHOREOGRAPHED_SHORT,)),
    Declared(
        Step.OPEN_TRANSFER,
        (Kind.SENT, Kind.LOCAL, Kind.SOURCE),
        refuses=(*_OF_ACCOUNTS, Reason.INSUFFICIENT_FUNDS, Reason.ID_CONFLICT, Reason.NOT_LOCAL),
    ),
    Declared(Step.ADMIT_TRANSFER, (Kind.SENT,), refuses=_OF_ACCOUNTS),
    Declared(Step.DECIDE_TRANSFER, (Kind.SENT, Kind.UNWELCOME)),
    Declared(Step.CREDIT_TRANSFER, (Kind.SENT,)),
    Declared(Step.WITHDRAW_ADMISSION, (Kind.UNWELCOME,)),
    Declared(
        Step.PREPARE_PARTICIPANT,
        (Kind.SOURCE, Kind.TARGET),
        refuses=(*_OF_ACCOUNTS, Reason.INSUFFICIENT_FUNDS),
        modes=REGULAR,
        commits_by_itself=True,
    ),
    Declared(Step.COMMIT_PARTICIPANT, (Kind.SOURCE, Kind.TARGET), modes=REGULAR, commits_by_itself=True),
    Declared(Step.ABORT_PARTICIPANT, (Kind.SOURCE_VETOED, Kind.TARGET_VETOED), modes=REGULAR),
)

DECLARED = {declared.step: declared for declared in _DECLARED}

COMPENSATIONS = frozenset(step for step in Step if step.phase is Phase.COMPENSATION and not step.declared.is_record)
