"""Reads a workflow's history: which steps ran in it, how often, for how long, and what happened between them.

Local activities are markers that are written when their workflow task completes; `local_rounds` reads them.
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
    """`events` from the first one on. Kinds of events that are of no use to a person are left out."""
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
        attributes = getattr(event, f"{kind}_event_attributes", None)
        if kind in _CLOSINGS:
            self._run.status, self._run.closed_at, self._run.why = _CLOSINGS[kind], at, _why(attributes)
        elif kind in _ENDS:
            await self._end_round(attributes, at, _ENDS[kind])
        elif read := self._readers.get(kind):
            await read(event, attributes, at)

    def _reader_by_kind(self) -> dict[str, ReadEvent]:
        return {
            "workflow_execution_started": self._execution_started,
            "workflow_task_started": self._task_started,
            "workflow_task_completed": self._task_completed,
            "workflow_task_timed_out": self._task_lost,
            "workflow_task_failed": self._task_lost,
            "upsert_workflow_search_attributes": self._attributes_upserted,
            "marker_recorded": self._marker_recorded,
            "activity_task_scheduled": self._activity_scheduled,
            "activity_task_started": self._activity_started,
            "timer_started": self._timer_started,
            "timer_fired": self._timer_ended,
            "timer_canceled": self._timer_ended,
            "workflow_execution_update_accepted": self._update_accepted,
            "workflow_execution_update_completed": self._update_completed,
            "workflow_execution_cancel_requested": self._cancel_requested,
        }

    async def _execution_started(self, event: HistoryEvent, attributes: Any, at: datetime) -> None:
        self._run.started_at = at
        self._run.input = await self._decoded(attributes.input)
        await self._attributes_upserted(event, attributes, at)

    async def _attributes_upserted(self, _: HistoryEvent, attributes: Any, __: datetime) -> None:
        status = attributes.search_attributes.indexed_fields.get(ORDER_STATUS.name)
        if status is not None:
            self._run.order_status = json.loads(status.data)

    # ── workflow tasks ──────────────────────────────────────────────────────────────────────────────────────

    async def _task_started(self, _: HistoryEvent, attributes: Any, __: datetime) -> None:
        self._worker = attributes.identity or None
        for handover in self._run.handovers:
            handover.after = handover.after or self._worker

    async def _task_completed(self, event: HistoryEvent, attributes: Any, _: datetime) -> None:
        self._task_starts[event.event_id] = attributes.started_event_id

    async def _task_lost(self, _: HistoryEvent, attributes: Any, at: datetime) -> None:
        if not attributes.started_event_id:  # Nothing had begun.
            self._run.handovers.append(Handover(self._times[attributes.scheduled_event_id], at, self._worker))
            return
        if isinstance(getattr(attributes, "timeout_type", None), int):
            why = "no worker finished it in time: the one that had begun died or hung"
        else:
            why = first_line(attributes.failure.message)
        self._run.lost_tasks.append(LostTask(self._times[attributes.started_event_id], at, why))

    def _task_began(self, completed_event_id: int) -> datetime:
        return self._times[self._task_starts[completed_event_id]]

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _marker_recorded(self, event: HistoryEvent, attributes: Any, _: datetime) -> None:
        if attributes.marker_name != MARKER_NAME:
            return
        summary = await self._summary(event)
        end, failure = ended_by(attributes.failure) if attributes.HasField("failure") else ("done", None)
        task = attributes.workflow_task_completed_event_id
        self._markers.append(
            Marker.read(
                attributes.details["data"].payloads[0].data,
                summary=summary,
                end=end,
                failure=failure,
                answer=await self._decoded(attributes.details["result"]) if "result" in attributes.details else None,
                task_began=self._task_began(task),
                task_completed=self._times[task],
            )
        )

    async def _activity_scheduled(self, event: HistoryEvent, attributes: Any, at: datetime) -> None:
        self._rounds[event.event_id] = Round(
            attributes.activity_type.name, attributes.activity_id, await self._summary(event), False, at
        )

    async def _activity_started(self, _: HistoryEvent, attributes: Any, __: datetime) -> None:
        begun = self._rounds[attributes.scheduled_event_id]
        begun.attempts = attributes.attempt
        if attributes.HasField("last_failure"):
            begun.failure = ended_by(attributes.last_failure)[1]

    async def _end_round(self, attributes: Any, at: datetime, end: RoundEnd) -> None:
        ended = self._rounds[attributes.scheduled_event_id]
        ended.ended_at, ended.end = at, end
        if end == "done":
            ended.answer = await self._decoded(attributes.result)
        elif end != "cancelled":
            ended.failure = ended_by(attributes.failure)[1]

    # ── between the steps ──────────────────────────────────────────────────────────────────────────────────

    async def _timer_started(self, event: HistoryEvent, attributes: Any, at: datetime) -> None:
        seconds = attributes.start_to_fire_timeout.ToTimedelta().total_seconds()
        # A watchdog is set by the command right after the one that starts the activity it watches.
        watched = self._rounds.get(event.event_id - 1)
        watches = watched.step_id if watched is not None else None
        self._timers[event.event_id] = Timer(await self._summary(event), at, seconds, watches)

    async def _timer_ended(self, event: HistoryEvent, attributes: Any, at: datetime) -> None:
        timer = self._timers[attributes.started_event_id]
        if event.HasField("timer_fired_event_attributes"):
            timer.ended_at, timer.end = at, "fired"
        else:  # The event is written when the workflow task that cancelled the timer completes.
            timer.ended_at, timer.end = self._task_began(attributes.workflow_task_completed_event_id), "cancelled"

    async def _update_accepted(self, event: HistoryEvent, attributes: Any, at: datetime) -> None:
        # The task that it woke accepts it, so what that task did came after it.
        requested_at = self._times.get(attributes.accepted_request_sequencing_event_id, at)
        self._requests[event.event_id] = request = Request(attributes.accepted_request.input.name, requested_at)
        self._run.requests.append(request)

    async def _update_completed(self, _: HistoryEvent, attributes: Any, at: datetime) -> None:
        request = self._requests[attributes.accepted_event_id]
        request.answered_at = at
        if attributes.outcome.HasField("failure"):
            request.failure = ended_by(attributes.outcome.failure)[1]
        else:
            request.answer = await self._decoded(attributes.outcome.success)

    async def _cancel_requested(self, _: HistoryEvent, __: Any, at: datetime) -> None:
        self._run.requests.append(Request(TEMPORAL_CANCEL, at))

    # ── payloads ────────────────────────────────────────────────────────────────────────────────────────────

    async def _decoded(self, payloads: Payloads) -> Any:
        """The first of them as plain JSON: a history may be older than today's types."""
        decoded = await self._converter.decode(payloads.payloads)
        return decoded[0] if decoded else None

    async def _summary(self, event: HistoryEvent) -> str:
        if not event.user_metadata.HasField("summary"):
            return ""
        [summary] = await self._converter.decode([event.user_metadata.summary])
        return str(summary)


def steps_in(one: Round) -> Iterator[Round]:
    """One round for each step that this activity carried out; the round itself if its result lists none."""
    carried = list(carried_in(one.answer))
    if not carried:
        yield one
    for each in carried:
        named = parse_activity_id(each.activity_id)
        activity = named.step if named is not None else each.activity_id
        yield replace(one, activity=activity, activity_id=each.activity_id, answer=each.answer)


def ended_by(failure: Failure) -> tuple[RoundEnd, str]:
    """How an attempt that did not succeed ended, and the first line of its failure."""
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


def _abandon(items: Sequence[Round] | Sequence[Timer], at: datetime) -> None:
    for each in items:
        if each.end is None:
            each.end, each.ended_at = "abandoned", at


def _why(attributes: Any) -> str | None:
    if getattr(attributes, "reason", ""):
        return str(attributes.reason)
    failure = getattr(attributes, "failure", None)
    return ended_by(failure)[1] if failure is not None else None
