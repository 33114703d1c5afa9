"""A trace: the path of one order, as `order trace --json` prints it and as the tree is drawn from.

`steps` are in the order in which they began, whatever workflow or run they belong to. Times are UTC; those of steps
are by the clocks of workers and Temporal, those of rows by their shards'. Null means unknown.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from domain.documents import Document
from domain.orders import OrderStatus, Style
from domain.steps import Phase
from domain.timestamps import Timestamp

Result = Literal[
    "done", "refused", "undone", "nothing_to_undo", "failed", "timed_out", "cancelled", "abandoned", "fired", "pending"
]
"""`abandoned`: it was open when its run was terminated, failed or timed out. `fired` is the end of a timer."""


class RoundDocument(Document):
    """Attempts that were started as one activity. A step has a local round, and regular ones behind it."""

    kind: Literal["local", "regular"]
    started_at: Timestamp
    ended_at: Timestamp | None
    attempts: int | None
    """Null if Temporal kept no count: a round that was cancelled between two attempts."""
    result: Literal["done", "failed", "timed_out", "cancelled", "abandoned", "pending"]
    failure: str | None


class AlarmDocument(Document):
    """The timer that races a regular activity: `fired` made the order `stuck`."""

    after_seconds: float
    at: Timestamp | None
    result: Literal["fired", "cancelled", "abandoned", "pending"]


class RowDocument(Document):
    """The commit that took effect, once, however many attempts were made. `at` null: its shard keeps no time of it."""

    shard: str
    at: Timestamp | None
    undone_at: Timestamp | None


class StepDocument(Document):
    """One thing that happened: a `step` of the saga, a `timer`, a `request` by a caller, a `lost_task`, or a `handover`
    to another worker from one that stopped taking tasks, because it died or hung.

    `attempts` is the sum over the rounds whose count is known; `failure` the first line of the last attempt that
    failed. A `refused` step has a `reason` and a `detail`. `undone`: done, and later undone by a compensation. `rounds`
    is empty for a step that is known only from its row.
    """

    kind: Literal["step", "timer", "request", "lost_task", "handover"]
    phase: Phase
    name: str
    summary: str
    shard: str | None = None
    result: Result
    reason: str | None = None
    detail: str | None = None
    started_at: Timestamp | None
    ended_at: Timestamp | None = None
    seconds: float | None = None
    attempts: int | None = None
    failure: str | None = None
    next_attempt_at: Timestamp | None = None
    rounds: list[RoundDocument] = Field(default_factory=list)
    alarm: AlarmDocument | None = None
    row: RowDocument | None = None
    workflow_id: str | None = None
    run_id: str | None = None


class TaskDocument(Document):
    """The workflow task that is due: `waiting` for a worker, or `begun` by one, which may have died since."""

    state: Literal["waiting", "begun"]
    since: Timestamp


class RunDocument(Document):
    """One run of a workflow. `status` is Temporal's; `why`: the reason of a terminate or a failure."""

    workflow_id: str
    run_id: str
    status: str
    why: str | None
    started_at: Timestamp
    ended_at: Timestamp | None
    seconds: float | None
    task: TaskDocument | None


class ReactorDocument(Document):
    """One service's reaction to an event: a short workflow on its task queue. `status` null: not started, or unknown
    to Temporal. Its own `steps` of the trace are those with its `workflow_id`."""

    name: str
    service: str
    workflow_id: str
    status: str | None
    started_at: Timestamp | None
    seconds: float | None


class EventDocument(Document):
    """An event of a choreographed order's row, and its reactors. `at` null: the outbox has trimmed it."""

    kind: str
    version: int
    at: Timestamp | None
    shard: str | None
    reactors: list[ReactorDocument]


class DecisionDocument(Document):
    """The pivot. `outcome`: `confirmed`, `aborting`, or `absent` if there was no row to decide on."""

    outcome: str
    reason: str | None
    detail: str | None
    at: Timestamp | None
    shard: str | None


class SourcesDocument(Document):
    """What the trace was made from. `forgotten`: Temporal keeps closed workflows only for its retention period."""

    temporal: Literal["answered", "forgotten", "away"]
    shards: dict[str, Literal["answered", "away"]]


class TraceDocument(Document):
    """`status` null: the order's shard does not answer and Temporal does not have it. `events`: of a choreographed
    order, by version."""

    order_id: str
    saga_id: str
    style: Style
    status: OrderStatus | None
    reason: str | None
    detail: str | None
    customer_id: str | None
    total: str | None
    currency: str | None
    started_at: Timestamp | None
    decision: DecisionDocument | None
    events: list[EventDocument]
    steps: list[StepDocument]
    runs: list[RunDocument]
    sources: SourcesDocument
    now: Timestamp
