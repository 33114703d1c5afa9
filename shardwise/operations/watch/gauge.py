"""A source that is asked again and again, within its own time limit, and fails alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from temporalio.service import RPCError

from domain.outages import why_unreachable
from domain.text import first_line
from shards.connections.waiting import within

T = TypeVar("T")

log = logging.getLogger("shardwise.watch")

NOT_ASKED = "not asked yet"


class Gauge(Generic[T]):
    """`value` is the last answer, None before the first; `error` why there is none now, None where there is."""

    def __init__(self, name: str, look: Callable[[], Coroutine[Any, Any, T]], limit_seconds: float) -> None:
        self.name = name
        self.value: T | None = None
        self.error: str | None = NOT_ASKED
        self._look = look
        self.limit_seconds = limit_seconds

    @property
    def was_asked(self) -> bool:
        return self.error is not NOT_ASKED

    async def ask(self) -> None:
        """Raises nothing: whatever goes wrong with a source is what is to be shown of it."""
        try:
            self.value = await within(self._look(), self.limit_seconds)
        except TimeoutError:
            self.error = f"no answer within {self.limit_seconds:g} s"
        except RPCError as error:
            log.debug("%s does not answer", self.name, exc_info=error)
            self.error = why_unreachable(error.message)
        except Exception as error:
            log.debug("%s does not answer", self.name, exc_info=error)
            self.error = first_line(str(error)) or type(error).__name__
        else:
            self.error = None

    async def ask_every(self, seconds: float) -> None:
        while True:
            asked_at = time.monotonic()
            await self.ask()
            await asyncio.sleep(max(seconds - (time.monotonic() - asked_at), 0.0))
