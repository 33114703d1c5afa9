"""What callers of workflows see: their arguments and results. Only data, no decisions.

The sandbox passes this module through: its classes are built once in a process, not again for each workflow. So the
sandbox guards nothing here, and the rules that keep `domain` pure hold for this module too.
"""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from enum import StrEnum

from pydantic import AliasChoices, Field
from pydantic.dataclasses import dataclass

from activities.interfaces import BatchCounts, Compared
from domain.in_doubt import InDoubtReport
from domain.money import Money
from domain.orders import Order, OrderStatus
from domain.sagas import Refusal, SagaOptions
from domain.transfer_batch import Round
from domain.transfers import Protocol, ProtocolChoice, Transfer, TransferStatus

VOTE_WITHIN_SECONDS = 20.0
# One call of the relay's activity. A hundred of them make a history of some 600 events, and last most of a day.
CALL_SECONDS = 600.0
SWEEP_EVERY_SECONDS = 30.0
# Five hours: some 3,600 events, below the 4,096 at which Temporal suggests continue-as-new.
SWEEPS_MAX = 600
# Workers join a sweeper that somebody else has started, so its pace must suit them: neither slow nor without rest.
SWEEP_SECONDS_MIN, SWEEP_SECONDS_MAX = 1.0, 60.0
# More events than a history has when its first line range begins.
BATCH_EVENTS_MIN = 10


@dataclass(frozen=True, slots=True)
class PlaceOrder:
    """`cancellation_window_seconds`: how long the order stays cancellable, payment held and stock reserved, before
    it is decided."""

    order: Order
    options: SagaOptions = field(default_factory=SagaOptions)
    cancellation_window_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class OrderResult:
    """How the order ended. By `content_hash` a caller knows whether this id names its own order."""

    order_id: str
    status: OrderStatus
    refusal: Refusal | None
    total: Money | None
    content_hash: str


@dataclass(frozen=True, slots=True)
class PlaceChoreographed:
    """`cancellation_window_seconds`: as for `PlaceOrder`. The order's reactors get the options from its events."""

    order: Order
    options: SagaOptions = field(default_factory=SagaOptions)
    cancellation_window_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Placement:
    """`refusal`: why there is no order row; None: there is one, and it holds the rest. By `content_hash` a caller knows
    whether this id names its own order."""

    order_id: str
    refusal: Refusal | None
    content_hash: str


class Reacted(StrEnum):
    """What a reactor has decided or done. `passed_over`: nothing, since the order's row had gone on without it."""

    STOCK_RESERVED = "stock_reserved"
    STOCK_REFUSED = "stock_refused"
    PAYMENT_HELD = "payment_held"
    PAYMENT_REFUSED = "payment_refused"
    CONFIRMED = "confirmed"
    ABORTING = "aborting"
    STOCK_CONSUMED = "stock_consumed"
    MERCHANT_CREDITED = "merchant_credited"
    STOCK_RELEASED = "stock_released"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    PASSED_OVER = "passed_over"


@dataclass(frozen=True, slots=True)
class Reaction:
    """How a reactor to an event of a choreographed order ended. `refusal`: why, if there is a reason."""

    outcome: Reacted
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class CarryOutTransfer:
    """`vote_within_seconds`: how long two-phase commit waits for each participant's vote before it aborts."""

    transfer: Transfer
    protocol: ProtocolChoice = ProtocolChoice.AUTO
    options: SagaOptions = field(default_factory=SagaOptions)
    vote_within_seconds: float = VOTE_WITHIN_SECONDS


@dataclass(frozen=True, slots=True)
class TransferResult:
    """How the transfer ended. `protocol` is the one that was run, None if nothing was begun. By `content_hash` a
    caller knows whether this id names its own transfer."""

    status: TransferStatus
    refusal: Refusal | None
    protocol: Protocol | None
    source_shard: str
    target_shard: str
    content_hash: str


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """One activity carries out `range_lines`; one transaction `chunk_lines`, after which the activity heartbeats,
    within `heartbeat_seconds`. `events_max`: the workflow continues as new when its history may have become so long.
    """

    chunk_lines: int = 10_000
    # Its name in the arguments of batches that were started before.
    range_lines: int = Field(default=30_000, validation_alias=AliasChoices("range_lines", "stretch_lines"))
    heartbeat_seconds: float = 12.0
    events_max: int = 10_000


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far it has come. `after`: by shard, the line behind which this round goes on; None where the round is done.

    `counts` cover both rounds: a line that the first postponed is counted again by how it ended.
    """

    round_: Round
    after: dict[str, int | None]
    counts: BatchCounts = field(default_factory=BatchCounts)


@dataclass(frozen=True, slots=True)
class TransferBatch:
    """`lines`: by source shard, how many are staged there. `progress` is of the run before this one."""

    batch_id: str
    lines: dict[str, int]
    options: BatchOptions = field(default_factory=BatchOptions)
    progress: BatchProgress | None = None


@dataclass(frozen=True, slots=True)
class FollowOutbox:
    """One call of the relay's activity lasts `call_seconds`."""

    shard: str
    call_seconds: float = CALL_SECONDS


@dataclass(frozen=True, slots=True)
class SweepInDoubt:
    """`paused`: until `resume` it sweeps only on request. `every_seconds`: the rest after a sweep. It continues as new
    after `sweeps_max` sweeps, or when Temporal suggests it."""

    paused: bool = False
    every_seconds: float = SWEEP_EVERY_SECONDS
    sweeps_max: int = SWEEPS_MAX


@dataclass(frozen=True, slots=True)
class Sweep:
    """How the sweep that ended `at` went. `report` None: it failed, for the reason `failure`; the next comes anyway."""

    at: datetime
    report: InDoubtReport | None
    failure: str | None


class Phase(StrEnum):
    """How far a rebuild has come."""

    BEGINNING = "beginning"
    FILLING = "filling"
    COMPARING = "comparing"
    SWITCHING = "switching"
    SWITCHED = "switched"
    DAMAGED = "damaged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One transaction reads `chunk_rows` of a shard; one activity lasts `fill_seconds`."""

    chunk_rows: int = 2000
    fill_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How it ended: `switched`; `damaged`, with `next` left as it is for inspection; or `refused`. `compared` is by
    shard, and under `within` what must agree in the version itself."""

    phase: Phase
    compared: dict[str, Compared] = field(default_factory=dict)
    refusal: str | None = None
    refusal_code: str | None = None
