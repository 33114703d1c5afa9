"""Reads a workflow's history: which steps ran in it, how often, for how long, and what came between.

Local activities are markers written when their workflow task completes; what such a marker keeps is in `local_rounds`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payloads
from temporalio.api.enums.v1 import TimeoutType
from temporalio.api.failure.v1 import Failure
from temporalio.api.history.v1 import HistoryEvent
from temporalio.converter import DataConverter

from domain.step_ids import carried_in, parse_activity_id
from domain.text import first_line
from tracing.facts import TEMPORAL_CANCEL, Handover, LostTask, Request, Round, RoundEnd, Run, Timer
from tracing.local_rounds import MARKER_NAME, Marker, rounds_of
from workflows.orders.saga import ORDER_STATUS

_CLOSINGS = {
    "workflow_execution_completed": "completed",
    "workflow_execution_failed": "failed",
    "workflow_execution_terminated": "terminated",
    "workflow_execution_timed_out": "timed_out",
    "workflow_execution_canceled": "cancelled",
    "workflow_execution_continued_as_new": "continued_as_new",
}
_ENDS: dict[str, RoundEnd] = {
    "activity_task_completed": "done",
    "activity_task_failed": "failed",
    "activity_task_timed_out": "timed_out",
    "activity_task_canceled": "cancelled",
}


ReadEvent = Callable[[HistoryEvent, Any, datetime], Coroutine[Any, Any, None]]


async def read_run(workflow_id: str, run_id: str, events: Iterable[HistoryEvent], converter: DataConverter) -> Run:
    """`events` from the first one on. Kinds of events that tell a person nothing are left out."""
    reader = _Reader(workflow_id, run_id, converter)
    for event in events:
        await reader.read(event)
    return reader.finished()


class _Reader:
    def __init__(self, workflow_id: str, run_id: str, converter: DataConverter) -> None:
        self._run = Run(workflow_id, run_id, datetime.fromtimestamp(0, UTC))
        self._converter = converter
        self._times: dict[int, datetime] = {}
        self._task_starts: dict[int, int] = {}
        self._worker: str | None = None
        self._rounds: dict[int, Round] = {}
        self._timers: dict[int, Timer] = {}
        self._requests: dict[int, Request] = {}
        self._markers: list[Marker] = []
        self._readers = self._reader_by_kind()

    def finished(self) -> Run:
        rounds = [*rounds_of(self._markers), *self._rounds.values()]
        self._run.rounds = sorted(
            [each for one in rounds for each in steps_in(one)], key=lambda each: (each.started_at, each.activity_id)
        )
        self._run.timers = list(self._timers.values())
        if self._run.closed_at is not None:
            _abandon(self._run.rounds, self._run.closed_at)
            _abandon(self._run.timers, self._run.closed_at)
        return self._run

    async def read(self, event: HistoryEvent) -> None:
        kind = (event.WhichOneof("attributes") or "").removesuffix("_event_attributes")
        at = self._times[event.event_id] = as_datetime(event.event_time)
        what = getattr(event, f"{kind}_event_attributes", None)
        if kind in _CLOSINGS:
            self._run.status, self._run.closed_at, self._run.why = _CLOSINGS[kind], at, _why(what)
        elif kind in _ENDS:
            await self._end_round(what, at, _ENDS[kind])
        elif read := self._readers.get(kind):
            await read(event, what, at)

    def _reader_by_kind(self) -> dict[str, ReadEvent]:
        return {
            "workflow_execution_started": self._started,
            "workflow_task_started": self._task_started,
            "workflow_task_completed": self._task_completed,
            "workflow_task_timed_out": self._task_lost,
            "workflow_task_failed": self._task_lost,
            "upsert_workflow_search_attributes": self._told_status,
            "marker_recorded": self._marked,
            "activity_task_scheduled": self._scheduled,
            "activity_task_started": self._attempted,
            "timer_started": self._timer_started,
            "timer_fired": self._timer_ended,
            "timer_canceled": self._timer_ended,
            "workflow_execution_update_accepted": self._asked,
            "workflow_execution_update_completed": self._answered,
            "workflow_execution_cancel_requested": self._cancel_asked,
        }

    async def _started(self, event: HistoryEvent, what: Any, at: datetime) -> None:
        self._run.started_at = at
        self._run.asked = await self._decoded(what.input)
        await self._told_status(event, what, at)

    async def _told_status(self, _: HistoryEvent, what: Any, __: datetime) -> None:
        told = what.search_attributes.indexed_fields.get(ORDER_STATUS.name)
        if told is not None:
            self._run.order_status = json.loads(told.data)

    # ── workflow tasks ──────────────────────────────────────────────────────────────────────────────────────

    async def _task_started(self, _: HistoryEvent, what: Any, __: datetime) -> None:
        self._worker = what.identity or None
        for handover in self._run.handovers:
            handover.after = handover.after or self._worker

    async def _task_completed(self, event: HistoryEvent, what: Any, _: datetime) -> None:
        self._task_starts[event.event_id] = what.started_event_id

    async def _task_lost(self, _: HistoryEvent, what: Any, at: datetime) -> None:
        if not what.started_event_id:  # Nothing had begun.
            self._run.handovers.append(Handover(self._times[what.scheduled_event_id], at, self._worker))
            return
        if isinstance(getattr(what, "timeout_type", None), int):
            why = "no worker finished it in time: the one that had begun died or hung"
        else:
            why = first_line(what.failure.message)
        self._run.lost_tasks.append(LostTask(self._times[what.started_event_id], at, why))

    def _task_began(self, completed_event_id: int) -> datetime:
        return self._times[self._task_starts[completed_event_id]]

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _marked(self, event: HistoryEvent, what: Any, _: datetime) -> None:
        if what.marker_name != MARKER_NAME:
            return
        summary = await self._summary(event)
        end, failure = ended_by(what.failure) if what.HasField("failure") else ("done", None)
        task = what.workflow_task_completed_event_id
        self._markers.append(
            Marker.read(
                what.details["data"].payloads[0].data,
                summary=summary,
                end=end,
                failure=failure,
                answer=await self._decoded(what.details["result"]) if "result" in what.details else None,
                task_began=self._task_began(task),
                task_completed=self._times[task],
            )
        )

    async def _scheduled(self, event: HistoryEvent, what: Any, at: datetime) -> None:
        self._rounds[event.event_id] = Round(
            what.activity_type.name, what.activity_id, await self._summary(event), False, at
        )

    async def _attempted(self, _: HistoryEvent, what: Any, __: datetime) -> None:
        begun = self._rounds[what.scheduled_event_id]
        begun.attempts = what.attempt
        if what.HasField("last_failure"):
            begun.failure = ended_by(what.last_failure)[1]

    async def _end_round(self, what: Any, at: datetime, end: RoundEnd) -> None:
        ended = self._rounds[what.scheduled_event_id]
        ended.ended_at, ended.end = at, end
        if end == "done":
            ended.answer = await self._decoded(what.result)
        elif end != "cancelled":
            ended.failure = ended_by(what.failure)[1]

    # ── what comes between ──────────────────────────────────────────────────────────────────────────────────

    async def _timer_started(self, event: HistoryEvent, what: Any, at: datetime) -> None:
        seconds = what.start_to_fire_timeout.ToTimedelta().total_seconds()
        # A watchdog is set by the very command behind the one that starts what it watches.
        watched = self._rounds.get(event.event_id - 1)
        watches = watched.step_id if watched is not None else None
        self._timers[event.event_id] = Timer(await self._summary(event), at, seconds, watches)

    async def _timer_ended(self, event: HistoryEvent, what: Any, at: datetime) -> None:
        timer = self._timers[what.started_event_id]
        if event.HasField("timer_fired_event_attributes"):
            timer.ended_at, timer.end = at, "fired"
        else:  # Written when the task that cancelled it was done.
            timer.ended_at, timer.end = self._task_began(what.workflow_task_completed_event_id), "cancelled"

    async def _asked(self, event: HistoryEvent, what: Any, at: datetime) -> None:
        # Accepted by the task that it woke: what that task then did came after it.
        asked_at = self._times.get(what.accepted_request_sequencing_event_id, at)
        self._requests[event.event_id] = request = Request(what.accepted_request.input.name, asked_at)
        self._run.requests.append(request)

    async def _answered(self, _: HistoryEvent, what: Any, at: datetime) -> None:
        request = self._requests[what.accepted_event_id]
        request.answered_at = at
        if what.outcome.HasField("failure"):
            request.failure = ended_by(what.outcome.failure)[1]
        else:
            request.answer = await self._decoded(what.outcome.success)

    async def _cancel_asked(self, _: HistoryEvent, __: Any, at: datetime) -> None:
        self._run.requests.append(Request(TEMPORAL_CANCEL, at))

    # ── payloads ────────────────────────────────────────────────────────────────────────────────────────────

    async def _decoded(self, payloads: Payloads) -> Any:
        """The first of them as plain JSON values: a history may be older than today's types."""
        decoded = await self._converter.decode(payloads.payloads)
        return decoded[0] if decoded else None

    async def _summary(self, event: HistoryEvent) -> str:
        if not event.user_metadata.HasField("summary"):
            return ""
        [summary] = await self._converter.decode([event.user_metadata.summary])
        return str(summary)


def steps_in(one: Round) -> Iterator[Round]:
    """One for each step that this activity has carried out; itself where its answer lists none."""
    carried = list(carried_in(one.answer))
    if not carried:
        yield one
    for each in carried:
        named = parse_activity_id(each.activity_id)
        activity = named.step if named is not None else each.activity_id
        yield replace(one, activity=activity, activity_id=each.activity_id, answer=each.answer)


def ended_by(failure: Failure) -> tuple[RoundEnd, str]:
    """How an attempt ended that did not succeed, and the first line of why."""
    while failure.HasField("cause") and failure.HasField("activity_failure_info"):
        failure = failure.cause
    if failure.HasField("canceled_failure_info"):
        return "cancelled", first_line(failure.message)
    if failure.HasField("timeout_failure_info"):
        kind = TimeoutType.Name(failure.timeout_failure_info.timeout_type).removeprefix("TIMEOUT_TYPE_")
        return "timed_out", f"no answer in time ({kind.lower().replace('_', ' ')})"
    return "failed", first_line(failure.message)


def as_datetime(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def _abandon(what: Sequence[Round] | Sequence[Timer], at: datetime) -> None:
    for each in what:
        if each.end is None:
            each.end, each.ended_at = "abandoned", at


def _why(what: Any) -> str | None:
    if getattr(what, "reason", ""):
        return str(what.reason)
    failure = getattr(what, "failure", None)
    return ended_by(failure)[1] if failure is not None else None
