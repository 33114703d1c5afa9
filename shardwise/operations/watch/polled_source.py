"""A source that is polled again and again, with its own time limit. Its failure affects no other source."""

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

NOT_POLLED = "not asked yet"


class PolledSource(Generic[T]):
    """`value`: the last answer, None before the first. `error`: why it does not answer now, None if it does."""

    def __init__(self, name: str, look: Callable[[], Coroutine[Any, Any, T]], limit_seconds: float) -> None:
        self.name = name
        self.value: T | None = None
        self.error: str | None = NOT_POLLED
        self._look = look
        self.limit_seconds = limit_seconds

    @property
    def was_polled(self) -> bool:
        return self.error is not NOT_POLLED

    async def poll(self) -> None:
        """Raises nothing: what goes wrong with a source is kept in `error`, to be shown."""
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

    async def poll_every(self, seconds: float) -> None:
        while True:
            polled_at = time.monotonic()
            await self.poll()
            await asyncio.sleep(max(seconds - (time.monotonic() - polled_at), 0.0))
