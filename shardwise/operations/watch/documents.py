"""One look at the installation: what `watch --json` prints, and what its page shows every second.

Numbers come from several sources, each of which can be away alone. What a source told last is kept and counted on;
`missing` names the sources that did not answer this time. Null is what nobody has told yet.
"""

from __future__ import annotations

from typing import Literal

from pydantic import computed_field

from domain.documents import Document
from domain.timestamps import Timestamp
from shards.monitoring.event_lag import EventsDocument


class PartDocument(Document):
    """`up`: it answered now, a worker: it lives and polls. Null: not asked yet. `why`, where it is not up."""

    name: str
    kind: Literal["shard", "database", "temporal", "worker"]
    where: str
    up: bool | None
    why: str | None


class OrdersDocument(Document):
    """Orders that have a row, by its state; one refused before it had a row is not among them.

    `stuck` is what Temporal knew a moment ago. A stuck order is counted by its row's state as well.
    """

    pending: int | None
    compensating: int | None
    confirmed: int | None
    rejected: int | None
    cancelled: int | None
    stuck: int | None


class TransfersDocument(Document):
    """Transfers of the shards' accounts by their row's state, lines of batches included. `settled`: decided for good;
    the newest may still be on their way to their target. `confirmed` is the same number under its older name.
    `in_flight` and `stuck`: transfers with a workflow of their own that is open, or waits; `batches` that are open.
    These three Temporal knew a moment ago.
    """

    in_flight: int | None
    batches: int | None
    stuck: int | None
    pending: int | None
    settled: int | None
    declined: int | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def confirmed(self) -> int | None:
        return self.settled


class RateDocument(Document):
    """Orders a second, over the last `over_seconds`. Finished: confirmed, or closed after its compensation."""

    placed_per_second: float | None
    finished_per_second: float | None
    over_seconds: float


class StuckDocument(Document):
    """`step` is the activity that does not succeed, null where it failed for good and waits for `order retry`."""

    order_id: str
    age_seconds: float
    step: str | None
    attempts: int | None
    failure: str | None
    next_attempt_at: Timestamp | None


class HoldDocument(Document):
    """Money that was set aside and neither captured nor released yet. `amount` is a decimal string."""

    order_id: str
    account_id: str
    amount: str
    currency: str
    shard: str
    placed_at: Timestamp
    age_seconds: float


class InDoubtDocument(Document):
    """Prepared transactions that wait for their decision, on all shards that answer. `alarm`: the oldest for longer
    than SHARDWISE_IN_DOUBT_ALARM_SECONDS."""

    transactions: int
    oldest_seconds: float | None
    alarm: bool


class WatchDocument(Document):
    """`in_flight`: orders whose workflows are open. `refused`: starts of the last day that no rule allows.
    `others`: workflows that hold an order's id and are none of ours, as `recover` tells them. `stuck`: some orders, the
    oldest first. `events`: as `projection status` tells them.

    `missing`: by source, why it did not answer; its numbers are left out, or as it told them last.
    """

    at: Timestamp
    parts: list[PartDocument]
    orders: OrdersDocument
    rate: RateDocument
    in_flight: int | None
    refused: int | None
    others: int | None
    stuck: list[StuckDocument]
    oldest_hold: HoldDocument | None
    transfers: TransfersDocument
    in_doubt: InDoubtDocument | None
    events: EventsDocument | None
    missing: dict[str, str]

    @property
    def exit_code(self) -> int:
        """As `status` has it: 3 where a part is not up, or did not tell all; 1 where somebody should look."""
        if self.missing or any(part.up is False for part in self.parts):
            return 3
        has_alarm = (self.events is not None and self.events.alarm) or (
            self.in_doubt is not None and self.in_doubt.alarm
        )
        return 1 if has_alarm or self.others else 0
