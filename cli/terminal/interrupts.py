"""Ctrl-C and SIGTERM for commands that must clean up behind them."""

from __future__ import annotations

import asyncio
import signal


class Interrupts:
    """The first Ctrl-C or SIGTERM cancels the task that makes this. Later ones do nothing, so that the cleaning up
    that follows is not left half done. Also in a background job, where a shell has SIGINT ignored. Lasts as long as the
    event loop."""

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._cancels = True
        self._cancelled_by: signal.Signals | None = None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._receive, number)

    def clean_up(self) -> None:
        """From here on nothing cancels: cleaning up has its own limits."""
        self._cancels = False

    def as_error(self) -> BaseException | None:
        """The error to end with if the task was cancelled, whatever other code turned that into; None if it was not."""
        if self._cancelled_by is None:
            return None
        return KeyboardInterrupt() if self._cancelled_by is signal.SIGINT else asyncio.CancelledError()

    def _receive(self, number: signal.Signals) -> None:
        if self._cancels and self._task is not None:
            self._cancels = False
            self._cancelled_by = number
            self._task.cancel()
