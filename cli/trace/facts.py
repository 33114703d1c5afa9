"""What the sources of a trace tell, before it is put together: facts of Temporal's histories and of the shards' rows.

A style of its own (other workflows, other steps) brings facts of these same kinds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from domain.sagas import Refusal

TEMPORAL_CANCEL = "Temporal's cancel"

RoundEnd = Literal["done", "failed", "timed_out", "cancelled", "abandoned"]
"""`abandoned`: it was open when its run was terminated, failed or timed out."""


@dataclass(slots=True)
class Round:
    """Attempts at a step that were started as one activity, local or regular.

    `attempts` is None where Temporal did not keep them: a round that is cancelled between two attempts leaves none.
    `failure` is the first line of the last attempt that failed, also where a later one succeeded. `end` None: it goes
    on, next at `next_attempt_at` unless an attempt runs at this moment.
    """

    activity: str
    summary: str
    local: bool
    started_at: datetime
    activity_id: str = ""
    ended_at: datetime | None = None
    attempts: int | None = None
    end: RoundEnd | None = None
    answer: Any = None
    failure: str | None = None
    next_attempt_at: datetime | None = None


@dataclass(slots=True)
class Timer:
    summary: str
    started_at: datetime
    seconds: float
    ended_at: datetime | None = None
    end: Literal["fired", "cancelled", "abandoned"] | None = None


@dataclass(slots=True)
class Request:
    """Somebody's wish: an update (`cancel`, `retry`) or Temporal's own cancel. `answer` None: not answered (yet)."""

    name: str
    asked_at: datetime
    answered_at: datetime | None = None
    answer: Any = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class LostTask:
    """A workflow task that was begun and brought nothing: the local steps that ran in it run again."""

    started_at: datetime
    lost_at: datetime
    why: str


@dataclass(slots=True)
class Handover:
    """A workflow task that the worker which had the workflow did not take in time, so that any other could: the time
    that a worker's death costs. Workers by their identity; `after` None: none has taken it yet."""

    due_at: datetime
    given_up_at: datetime
    before: str | None
    after: str | None = None


@dataclass(frozen=True, slots=True)
class WaitingTask:
    """The workflow task that is due now. `begun`: a worker has taken it."""

    since: datetime
    begun: bool


@dataclass(slots=True)
class Run:
    """One run of one workflow. `status` as Temporal calls it, in small letters; `order_status` as the workflow told
    last. `asked` is the workflow's input, `why` the reason of a terminate or the failure it ended with."""

    workflow_id: str
    run_id: str
    started_at: datetime
    status: str = "running"
    closed_at: datetime | None = None
    why: str | None = None
    asked: Any = None
    order_status: str | None = None
    rounds: list[Round] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lost_tasks: list[LostTask] = field(default_factory=list)
    handovers: list[Handover] = field(default_factory=list)
    waiting_task: WaitingTask | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """A step that a shard has committed. `activity` and `sku_range` name it as the saga does.

    `at` None: the shard keeps no time of it. `nothing_to_undo`: an undo of what never ran, which now never will, or of
    what was refused.
    """

    activity: str
    shard: str
    at: datetime | None
    sku_range: str | None = None
    refusal: Refusal | None = None
    outcome: str | None = None
    undone_at: datetime | None = None
    nothing_to_undo: bool = False
