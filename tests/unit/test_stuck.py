"""The report of a test that hangs: where each task waits, to the innermost frame."""

from __future__ import annotations

import asyncio

from tests.support import stuck


async def _outer(never: asyncio.Event) -> None:
    await _inner(never)


async def _inner(never: asyncio.Event) -> None:
    await never.wait()


async def test_every_task_is_reported_with_the_frame_that_it_waits_in() -> None:
    waiting = asyncio.create_task(_outer(asyncio.Event()), name="a task that hangs")
    await asyncio.sleep(0)
    _, _, rest = stuck.tasks_and_frames().partition("a task that hangs\n")
    outer, inner, wait = rest.splitlines()[:3]
    assert (outer.split()[-1], inner.split()[-1], wait.split()[-1]) == ("_outer", "_inner", "wait")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert "a task that hangs" not in stuck.tasks_and_frames()
