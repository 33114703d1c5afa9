"""What is opened too late for a read goes on, so that a later read finds it: else a far replica is never read from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.balancing import Balancing
from domain.errors import Unreachable
from shards.reading.fleet import LATE_MAX, Fleet

SOON, LATER = 0.01, 0.05


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    made = Fleet([], Balancing.WEIGHTED, 0)
    yield made
    await made.close()


class Opening:
    """Takes as long as a test says. `put_back` is called with what comes of it after nobody waited any more."""

    def __init__(self, seconds: float = LATER, fails: bool = False) -> None:
        self.seconds = seconds
        self.fails = fails
        self.is_cancelled = False
        self.back: list[str] = []

    async def open(self) -> str:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.is_cancelled = True
            raise
        if self.fails:
            raise Unreachable("shard_unreachable", "it does not answer")
        return "connection"

    async def put_back(self, opened: str) -> None:
        self.back.append(opened)


async def test_what_is_there_in_time_is_the_caller_s(fleet: Fleet) -> None:
    opening = Opening(0)
    assert await fleet.in_time(opening.open(), LATER, opening.put_back) == "connection"
    await asyncio.sleep(SOON)
    assert opening.back == []


@pytest.mark.parametrize("fails", [False, True])
async def test_what_comes_too_late_is_put_back_unless_it_fails(fleet: Fleet, fails: bool) -> None:
    opening = Opening(fails=fails)
    with pytest.raises(TimeoutError):
        await fleet.in_time(opening.open(), SOON, opening.put_back)
    await asyncio.sleep(2 * LATER)
    assert opening.back == ([] if fails else ["connection"])


async def test_it_goes_on_where_the_caller_is_cancelled_too(fleet: Fleet) -> None:
    opening = Opening()
    reading = asyncio.ensure_future(fleet.in_time(opening.open(), 60, opening.put_back))
    await asyncio.sleep(SOON)
    reading.cancel()
    await asyncio.sleep(2 * LATER)
    assert reading.cancelled()
    assert opening.back == ["connection"]


async def test_only_a_few_go_on_and_none_beyond_the_end(fleet: Fleet) -> None:
    openings = [Opening(60) for _ in range(LATE_MAX + 2)]
    waiting = (fleet.in_time(each.open(), SOON, each.put_back) for each in openings)
    assert all(isinstance(each, TimeoutError) for each in await asyncio.gather(*waiting, return_exceptions=True))
    await asyncio.sleep(SOON)
    assert sum(each.is_cancelled for each in openings) == 2
    await fleet.close()
    assert all(each.is_cancelled and not each.back for each in openings)
