"""What the sources of a trace tell, before it is put together: facts of Temporal's histories and of the shards' rows.

A style of its own (other workflows, other steps) brings facts of these same kinds. Histories and rows are joined by the
ids of steps: see `domain.steps`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from domain.sagas import Refusal
from domain.step_ids import parse_activity_id, without_round
from domain.steps import Step

TEMPORAL_CANCEL = "Temporal's cancel"

RoundEnd = Literal["done", "failed", "timed_out", "cancelled", "abandoned"]
"""`abandoned`: it was open when its run was terminated, failed or timed out."""


@dataclass(slots=True)
class Round:
    """Attempts at a step that were started as one activity, local or regular. `step_id` names the step; where one
    activity carries out several, each of them has a round of its own.

    `attempts` is None where Temporal did not keep them: a round that is cancelled between two attempts leaves none.
    `failure` is the first line of the last attempt that failed, also where a later one succeeded. `end` None: it goes
    on, next at `next_attempt_at` unless an attempt runs at this moment.
    """

    activity: str
    activity_id: str
    summary: str
    local: bool
    started_at: datetime
    ended_at: datetime | None = None
    attempts: int | None = None
    end: RoundEnd | None = None
    answer: Any = None
    failure: str | None = None
    next_attempt_at: datetime | None = None

    @property
    def step_id(self) -> str:
        return without_round(self.activity_id)

    @property
    def step(self) -> Step | None:
        """None for what is no step of a saga."""
        named = parse_activity_id(self.activity_id)
        return named.step if named is not None else None


@dataclass(slots=True)
class Timer:
    """`watches`: the id of the step whose activity it races; None of one that is waited for."""

    summary: str
    started_at: datetime
    seconds: float
    watches: str | None = None
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

    def is_its_window(self, timer: Timer) -> bool:
        """Whether this is the cancellation window that the workflow was asked for, in either style."""
        asked = self.asked if isinstance(self.asked, dict) else {}
        order = asked.get("choreography") or asked
        return timer.watches is None and timer.seconds == order.get("cancellation_window_seconds")


@dataclass(frozen=True, slots=True)
class Effect:
    """A step that a shard has committed: `step_id` is what its activity's id begins with. `name` is the step's, or
    the row's where no step is known to write it.

    `at` None: the shard keeps no time of it. `nothing_to_undo`: an undo of what never ran, which now never will, or of
    what was refused.
    """

    step_id: str
    name: str
    shard: str
    at: datetime | None
    refusal: Refusal | None = None
    outcome: str | None = None
    undone_at: datetime | None = None
    nothing_to_undo: bool = False

    @classmethod
    def of(cls, step: Step, part: str | None, shard: str, at: datetime | None, **others: Any) -> Effect:
        return cls(step.activity_id(part), step, shard, at, **others)
