"""What can go wrong around one attempt of a step."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

from temporalio.exceptions import ApplicationError

R = TypeVar("R")


class Fault(ABC):
    lasts = False
    """Whether it befalls the attempts after this one too."""

    @abstractmethod
    async def around(self, effect: Callable[[], R]) -> R:
        """One attempt under this fault."""


class Fails(Fault):
    """Nothing happens and the caller gets an error; the next attempt may succeed."""

    async def around(self, effect: Callable[[], R]) -> R:
        raise ApplicationError("the shard is away", type="shard_unreachable")


class FailsForGood(Fault):
    """Nothing happens and no retry will help."""

    async def around(self, effect: Callable[[], R]) -> R:
        raise ApplicationError("the ledger does not add up", type="integrity_violation", non_retryable=True)


class LosesAck(Fault):
    """The transaction commits, and its caller never gets the answer."""

    async def around(self, effect: Callable[[], R]) -> R:
        effect()
        raise ApplicationError("the connection broke during COMMIT", type="shard_unreachable")


class Outage(Fault):
    """Every attempt fails until it is over."""

    def __init__(self) -> None:
        self.lasts = True

    def over(self) -> None:
        self.lasts = False

    async def around(self, effect: Callable[[], R]) -> R:
        if not self.lasts:
            return effect()
        raise ApplicationError("the shard is away", type="shard_unreachable")


class Hangs(Fault):
    """The attempt waits until it is released, then takes effect: a slow one, or a zombie nobody waits for."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.ended = asyncio.Event()
        self._released = asyncio.Event()

    def release(self) -> None:
        self._released.set()

    async def around(self, effect: Callable[[], R]) -> R:
        self.reached.set()
        try:
            await self._released.wait()
            return effect()
        finally:
            self.ended.set()
