"""When a local activity began and ended, computed from the marker that it left in the history.

The marker's `original_schedule_time` is the worker's clock at the start. Its `complete_time` is not a moment: it is
the workflow's clock at the start plus the last attempt's running time, and that clock is stopped between the task's
start and the activities' completions. (temporalio/sdk-core: local_activity_state_machine.rs, `wf_time_when_started`.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Self

from tracing.facts import Round, RoundEnd

MARKER_NAME = "core_local_activity"
NO_TIME = timedelta(0)


@dataclass(frozen=True, slots=True)
class Marker:
    """In the order of the history, which is the order in which they ended."""

    number: int
    activity: str
    activity_id: str
    attempts: int
    began: datetime
    completed: datetime
    summary: str
    end: RoundEnd
    failure: str | None
    answer: Any
    task_began: datetime
    task_completed: datetime

    @classmethod
    def read(cls, data: bytes, **others: Any) -> Self:
        """`data` is written by the SDK's core, below any payload codec."""
        kept = json.loads(data)
        return cls(
            number=kept["seq"],
            activity=kept["activity_type"],
            activity_id=kept["activity_id"],
            attempts=kept["attempt"],
            began=_moment(kept["original_schedule_time"]),
            completed=_moment(kept["complete_time"]),
            **others,
        )


def rounds_of(markers: Sequence[Marker]) -> list[Round]:
    rounds: list[Round] = []
    for _, group in groupby(markers, key=lambda marker: marker.task_completed):
        of_task = list(group)
        ends = _ends(of_task)
        rounds += [_round(marker, ends[marker.number]) for marker in of_task]
    return rounds


def _round(marker: Marker, ended_at: datetime) -> Round:
    return Round(
        marker.activity,
        marker.activity_id,
        marker.summary,
        local=True,
        started_at=marker.began,
        ended_at=ended_at,
        attempts=marker.attempts,
        end=marker.end,
        answer=marker.answer,
        failure=marker.failure,
    )


def _ends(markers: Sequence[Marker]) -> dict[int, datetime]:
    """The ends of one task's activities, by number. Exact for one attempt. For several, only the last one's duration is
    kept: such an activity ended no later than the next one began, or the task completed."""
    place = {marker.number: n for n, marker in enumerate(markers)}
    ends: dict[int, datetime] = {}
    for marker in sorted(markers, key=lambda each: each.number):
        before = (
            each
            for each in markers
            if each.number in ends and place[each.number] < place[marker.number] and ends[each.number] <= marker.began
        )
        clock = max([marker.task_began, *(each.completed for each in before)])
        earliest = marker.began + max(marker.completed - clock, NO_TIME)
        next_begun = [each.began for each in markers if each.began >= earliest and each.number > marker.number]
        latest = min([*next_begun, max(marker.task_completed, earliest)])
        ends[marker.number] = earliest if marker.attempts == 1 else latest
    return ends


def _moment(stamp: dict[str, int]) -> datetime:
    return datetime.fromtimestamp(stamp["seconds"], UTC) + timedelta(microseconds=stamp["nanos"] // 1000)
