"""Signals at a command that cleans up behind itself."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from cli.terminal.interrupts import Interrupts

NUMBERS = [signal.SIGINT, signal.SIGTERM]


async def receive(*numbers: signal.Signals) -> None:
    """Returns when the event loop has had its chance to act on them."""
    for number in numbers:
        os.kill(os.getpid(), number)
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("cleaned_up_for", [NUMBERS, NUMBERS * 2])
@pytest.mark.parametrize("first", NUMBERS)
def test_the_first_one_ends_the_work_and_all_others_leave_the_cleaning_up_alone(
    first: signal.Signals, cleaned_up_for: list[signal.Signals]
) -> None:
    cleaned_up = False

    async def work() -> None:
        nonlocal cleaned_up
        interrupts = Interrupts()
        try:
            await receive(first)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await receive(*cleaned_up_for)
            cleaned_up = True
        # Whatever became of the cancellation.
        raise interrupts.as_error() or AssertionError("not interrupted")

    with pytest.raises(KeyboardInterrupt if first is signal.SIGINT else asyncio.CancelledError):
        asyncio.run(work())
    assert cleaned_up


def test_one_that_comes_while_all_is_over_already_is_no_interrupt() -> None:
    async def work() -> bool:
        interrupts = Interrupts()
        interrupts.clean_up()
        await receive(*NUMBERS)
        return interrupts.as_error() is None

    assert asyncio.run(work())
