"""One look at the installation: what `watch --json` prints, and what its page shows every second.

Numbers come from several sources, and each of them can be down alone. Its last numbers are then kept and still count;
`missing` names the sources that did not answer this time. A number is null until its source has answered once.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, computed_field, model_serializer

from domain.documents import Document
from domain.timestamps import Timestamp
from shards.monitoring.event_lag import EventsDocument
from shards.monitoring.replicas import ReplicaDocument


class PartDocument(Document):
    """`up`: it answered now; for a worker: it lives and polls. Null: not polled yet. `why`: if not up, the reason."""

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
    the newest may not have reached their target yet. `confirmed` is the same number under its older name.
    `in_flight` and `stuck`: transfers with a workflow of their own that is open, or waits; `batches` that are open.
    These three are what Temporal knew a moment ago.
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
    """`step` is the activity that does not succeed; null if it failed for good and waits for `order retry`."""

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
    `others`: workflows that hold an order's id and are none of ours, as in `recover`. `stuck`: some orders, the oldest
    first. `events`: as in `projection status`. `replicas`: as in `status`; left out if there are none.

    `missing`: by source, why it did not answer; its numbers are its last ones, or left out.
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
    replicas: list[ReplicaDocument] = Field(default_factory=list)

    @model_serializer(mode="wrap")
    def _without_empty_replicas(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dumped: dict[str, Any] = dump(self)
        if not self.replicas:
            del dumped["replicas"]
        return dumped

    @property
    def exit_code(self) -> int:
        """As for `status`: 3 if a part is not up or a source is missing; 1 if something needs attention. Replicas do
        not count: their primaries answer for them."""
        if self.missing or any(part.up is False for part in self.parts):
            return 3
        has_alarm = (self.events is not None and self.events.alarm) or (
            self.in_doubt is not None and self.in_doubt.alarm
        )
        return 1 if has_alarm or self.others else 0
