"""`shielded` outlives any number of cancels. Temporal's server records one; here are as many as one likes."""

from __future__ import annotations

import asyncio

import pytest

from workflows.saga_steps import shielded


@pytest.mark.parametrize("cancels", [0, 1, 2, 5])
async def test_the_work_ends_however_often_it_is_cancelled(cancels: int) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()
    noticed: list[None] = []

    async def work() -> str:
        begun.set()
        await may_end.wait()
        return "done"

    waiting = asyncio.create_task(shielded(work(), lambda: noticed.append(None)))
    await begun.wait()
    for _ in range(cancels):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    may_end.set()
    assert await waiting == "done"
    assert len(noticed) == cancels


async def test_the_works_own_failure_comes_out() -> None:
    async def work() -> None:
        raise LookupError("no such shelf")

    with pytest.raises(LookupError, match="no such shelf"):
        await shielded(work(), lambda: None)


async def test_work_that_is_itself_cancelled_ends_cancelled() -> None:
    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await shielded(work(), lambda: None)
