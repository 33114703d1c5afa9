"""The facts that a trace is built from: those of Temporal's histories and those of the shards' rows.

The kinds of facts are the same for every style, whatever its workflows and steps. Histories and rows are joined by the
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
    """Attempts at a step that were started as one activity, local or regular. `step_id` names the step; if one activity
    carries out several steps, each of them has a round of its own.

    `attempts` is None if Temporal did not keep the count: a round that is cancelled between two attempts has none.
    `failure` is the first line of the last attempt that failed, even if a later one succeeded. `end` None: it goes on,
    with the next attempt at `next_attempt_at` unless one is running now.
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
        """None for an activity that is no step of a saga."""
        named = parse_activity_id(self.activity_id)
        return named.step if named is not None else None


@dataclass(slots=True)
class Timer:
    """`watches`: the id of the step whose activity it races; None if the workflow itself waits for the timer."""

    summary: str
    started_at: datetime
    seconds: float
    watches: str | None = None
    ended_at: datetime | None = None
    end: Literal["fired", "cancelled", "abandoned"] | None = None


@dataclass(slots=True)
class Request:
    """A caller's update (`cancel`, `retry`) or Temporal's own cancel. `answer` None: not answered (yet)."""

    name: str
    requested_at: datetime
    answered_at: datetime | None = None
    answer: Any = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class LostTask:
    """A workflow task that began and did not complete: the local steps that ran in it run again."""

    started_at: datetime
    lost_at: datetime
    why: str


@dataclass(slots=True)
class Handover:
    """A workflow task that the worker which held the workflow did not take in time, so that it was offered to all: its
    length is what a worker's death costs. `before` and `after` are identities of workers; `after` None: no worker has
    taken it yet."""

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
    """One run of one workflow. `status` is Temporal's, in lower case; `order_status` the last value that the workflow
    gave its search attribute. `input` is its first argument, `why` the reason of a terminate or the failure that it
    ended with."""

    workflow_id: str
    run_id: str
    started_at: datetime
    status: str = "running"
    closed_at: datetime | None = None
    why: str | None = None
    input: Any = None
    order_status: str | None = None
    rounds: list[Round] = field(default_factory=list)
    timers: list[Timer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    lost_tasks: list[LostTask] = field(default_factory=list)
    handovers: list[Handover] = field(default_factory=list)
    waiting_task: WaitingTask | None = None

    def is_cancellation_window(self, timer: Timer) -> bool:
        """Whether this is the cancellation window of the workflow's input, in either style."""
        given = self.input if isinstance(self.input, dict) else {}
        order = given.get("choreography") or given
        return timer.watches is None and timer.seconds == order.get("cancellation_window_seconds")


@dataclass(frozen=True, slots=True)
class Effect:
    """A step that a shard has committed: `step_id` is what its activity's id begins with. `name` is the step's, or the
    row's if no known step writes it.

    `at` None: the shard keeps no time of it. `nothing_to_undo`: it undid a step that never ran, which now never will,
    or one that was refused.
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
