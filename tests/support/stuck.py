"""What each task of the event loops waits for. Reported of a test that ran into its time limit: a thread's stack shows
only that the loop waits."""

from __future__ import annotations

import asyncio
import gc
import io
from collections.abc import Iterator


def tasks_and_frames() -> str:
    """The stack of each unfinished task, innermost frame last."""
    page = io.StringIO()
    for task in sorted(_unfinished(), key=lambda task: task.get_name()):
        page.write(f"{task.get_name()}\n")
        for frame in _frames(task.get_coro()):
            page.write(f"    {frame}\n")
    return page.getvalue()


def _unfinished() -> list[asyncio.Task[object]]:
    # Of whatever loop: `asyncio.all_tasks` wants to know which one, and a hook of pytest has none at hand.
    return [each for each in gc.get_objects() if issubclass(type(each), asyncio.Task) and not each.done()]


def _frames(waiting: object) -> Iterator[str]:
    """Along what each coroutine awaits: `Task.get_stack` shows its outermost frame alone."""
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "gi_frame", None)
        frame = frame or getattr(waiting, "ag_frame", None)
        if frame is None:
            yield repr(waiting)[:200]
            return
        yield f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}"
        waiting = next(
            (each for name in ("cr_await", "gi_yieldfrom", "ag_await") if (each := getattr(waiting, name, None))), None
        )
