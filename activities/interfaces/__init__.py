"""What workflows see of the activities: names, arguments, results and their contract. No SQL behind these imports.

Every effect here is idempotent by (saga id, step): calling again returns the stored answer, refusals included. A
refusal is a result. What is raised is a failure: Temporal tries again, except for `integrity_violation`, which no
retry can mend.

If a worker crashes during any of them, its transaction has happened as a whole or not at all.
"""

from __future__ import annotations

from activities.interfaces.choreography import ChoreographyActivities, OrderStep, PlacedOrder
from activities.interfaces.orders import (
    AbortOrder,
    Claimed,
    CreditMerchant,
    DecideOrder,
    OpenOrder,
    OrderActivities,
    PaymentActivities,
    Priced,
    RefuseOrderId,
    StepResult,
    StockActivities,
    StockStep,
)
from activities.interfaces.read_model import (
    Begun,
    Compared,
    ComparedRows,
    CompareShard,
    FillShard,
    ReadModelActivities,
)
from activities.interfaces.relay import Followed, FollowShard, RelayActivities, Standing
from activities.interfaces.transfer_batches import (
    BatchCounts,
    BatchStretch,
    StretchDone,
    TransferBatchActivities,
)
from activities.interfaces.transfers import (
    AbortParticipant,
    DecideTransfer,
    InDoubtActivities,
    OpenedTransfer,
    OpenTransfer,
    ParticipantStep,
    ResolveInDoubt,
    TransferActivities,
    TwoPhaseActivities,
)
from domain.orders import StockShare

__all__ = [
    "AbortOrder",
    "AbortParticipant",
    "BatchCounts",
    "BatchStretch",
    "Begun",
    "ChoreographyActivities",
    "Claimed",
    "CompareShard",
    "Compared",
    "ComparedRows",
    "CreditMerchant",
    "DecideOrder",
    "DecideTransfer",
    "FillShard",
    "FollowShard",
    "Followed",
    "InDoubtActivities",
    "OpenOrder",
    "OpenTransfer",
    "OpenedTransfer",
    "OrderActivities",
    "OrderStep",
    "ParticipantStep",
    "PaymentActivities",
    "PlacedOrder",
    "Priced",
    "ReadModelActivities",
    "RefuseOrderId",
    "RelayActivities",
    "ResolveInDoubt",
    "Standing",
    "StepResult",
    "StockActivities",
    "StockShare",
    "StockStep",
    "StretchDone",
    "TransferActivities",
    "TransferBatchActivities",
    "TwoPhaseActivities",
]
