"""What the battery must know of each activity of the sagas. An activity that is not declared here fails a test."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from domain.orders import OrderStatus
from domain.sagas import Reason
from domain.transfers import TransferStatus

Mode = Literal["local_first", "regular"]
MODES: tuple[Mode, ...] = ("local_first", "regular")


class Kind(StrEnum):
    """Kinds of orders and transfers, by how they end when nothing goes wrong."""

    SOUND = "sound"
    SHORT = "short of stock"
    """One of its two SKU ranges has too little; what the other one reserved must be given back."""
    STRANGER = "a stranger's"
    """Of a customer who does not exist: refused before it has a row."""

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
    """What is told in a table of its own."""

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
    Kind.STRANGER: Ending(OrderStatus.REJECTED, Reason.UNKNOWN_CUSTOMER),
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
    """`kinds`: those whose sagas come to this activity. `refuses`: every reason that it can answer by itself, of the
    first kind. `undone_by`: the activity that compensates it. `undecided`: it runs before the decision, so a cancel can
    win. `modes`: the same for both where it is never run locally. `commits_by_itself`: its transaction has no border
    to stop at, because it is prepared and ended in statements of its own. `never`: faults, by their class, that cannot
    befall it.
    """

    kinds: tuple[Kind, ...]
    refuses: tuple[Reason, ...] = ()
    undone_by: str | None = None
    undecided: bool = False
    modes: tuple[Mode, ...] = MODES
    commits_by_itself: bool = False
    never: tuple[str, ...] = ()

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

DECLARED: dict[str, Declared] = {
    "claim_order_id": Declared((Kind.SOUND,), refuses=(Reason.ID_CONFLICT,), undecided=True),
    "price_lines": Declared((Kind.SOUND,), refuses=(Reason.UNKNOWN_SKU, Reason.CURRENCY_MISMATCH), undecided=True),
    "open_order": Declared(
        (Kind.SOUND,),
        refuses=(
            Reason.UNKNOWN_CUSTOMER,
            Reason.CURRENCY_WITHDRAWN,
            Reason.CURRENCY_MISMATCH,
            Reason.ACCOUNT_NOT_OPEN,
            Reason.INSUFFICIENT_FUNDS,
        ),
        undone_by="abort_order",
        undecided=True,
    ),
    "reserve_stock": Declared(
        (Kind.SOUND, Kind.CHOREOGRAPHED),
        refuses=(Reason.UNKNOWN_SKU, Reason.CURRENCY_MISMATCH, Reason.OUT_OF_STOCK),
        undone_by="release_stock",
        undecided=True,
    ),
    "decide_order": Declared((Kind.SOUND, Kind.SHORT, Kind.STRANGER, Kind.CHOREOGRAPHED)),
    "consume_stock": Declared((Kind.SOUND, Kind.CHOREOGRAPHED)),
    "credit_merchant": Declared((Kind.SOUND, Kind.CHOREOGRAPHED)),
    "release_stock": Declared((Kind.SHORT, Kind.CHOREOGRAPHED_SHORT)),
    "abort_order": Declared((Kind.SHORT, Kind.STRANGER, Kind.CHOREOGRAPHED_POOR)),
    "refuse_order_id": Declared((Kind.STRANGER,)),
    # What bars it is the decision, and what undoes it is not asked for where there was no row.
    "place_order": Declared(
        (Kind.CHOREOGRAPHED,),
        refuses=(Reason.UNKNOWN_CUSTOMER, Reason.CURRENCY_WITHDRAWN),
        undone_by="abort_order",
        undecided=True,
        never=("DoComesLate", "CommitsUnderItsUndo", "UndoFails"),
    ),
    # Nobody cancels it: what it tells has happened already. Nor can an undecided order be undone.
    "join_stock": Declared(
        (Kind.CHOREOGRAPHED,),
        undone_by="abort_order",
        undecided=True,
        never=("UndoComesFirst", "DoComesLate by temporal", "CommitsUnderItsUndo", "UndoFails"),
    ),
    # Once it is done the next reactor is on its way to the decision, whoever is cancelled here; and who is cancelled
    # before tells so by the same step, which waits at its barrier where the undo would.
    "hold_payment": Declared(
        (Kind.CHOREOGRAPHED,),
        refuses=(Reason.CURRENCY_MISMATCH, Reason.ACCOUNT_NOT_OPEN, Reason.INSUFFICIENT_FUNDS),
        undone_by="abort_order",
        undecided=True,
        never=("UndoComesFirst", "CommitsUnderItsUndo", "UndoFails"),
    ),
    "join_release": Declared((Kind.CHOREOGRAPHED_SHORT,)),
    "open_transfer": Declared(
        (Kind.SENT, Kind.LOCAL, Kind.SOURCE),
        refuses=(*_OF_ACCOUNTS, Reason.INSUFFICIENT_FUNDS, Reason.ID_CONFLICT, Reason.NOT_LOCAL),
        undecided=True,
    ),
    "admit_transfer": Declared((Kind.SENT,), refuses=_OF_ACCOUNTS, undone_by="withdraw_admission", undecided=True),
    "decide_transfer": Declared((Kind.SENT, Kind.UNWELCOME)),
    "credit_transfer": Declared((Kind.SENT,)),
    "withdraw_admission": Declared((Kind.UNWELCOME,)),
    "prepare_participant": Declared(
        (Kind.SOURCE, Kind.TARGET),
        refuses=(*_OF_ACCOUNTS, Reason.INSUFFICIENT_FUNDS),
        undone_by="abort_participant",
        undecided=True,
        modes=REGULAR,
        commits_by_itself=True,
    ),
    "commit_participant": Declared((Kind.SOURCE, Kind.TARGET), modes=REGULAR, commits_by_itself=True),
    "abort_participant": Declared((Kind.SOURCE_VETOED, Kind.TARGET_VETOED), modes=REGULAR),
}

COMPENSATIONS = frozenset(
    {"release_stock", "abort_order", "refuse_order_id", "withdraw_admission", "abort_participant"}
)
