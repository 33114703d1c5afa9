"""What served the reads of a call: which server, at which point, after how long a wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from domain.consistency import Level, Points


@dataclass(frozen=True, slots=True)
class Served:
    """`server`: a shard, one of its replicas, or `read_model`. `points`: at or above all that was read.
    `waited_seconds`: since a server was first found to lack what the read demands, or not to answer; 0 if none was.
    `is_fit` is false for a replica that does not stream, or lags: it was read since nothing else answered.
    """

    server: str
    level: Level
    points: Points
    waited_seconds: float
    is_fit: bool = True


_RECORD: ContextVar[list[Served] | None] = ContextVar("shardwise_served", default=None)


@contextmanager
def recording() -> Iterator[list[Served]]:
    """Inside the block each read of this task, and of tasks that it starts, is added to the list. Costs a statement
    for reads that would not be stamped otherwise."""
    found: list[Served] = []
    token = _RECORD.set(found)
    try:
        yield found
    finally:
        _RECORD.reset(token)


def is_recording() -> bool:
    return _RECORD.get() is not None


def record(served: Served) -> None:
    found = _RECORD.get()
    if found is not None:
        found.append(served)
