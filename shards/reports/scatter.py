"""Asks several shards at once, each for so long at most, and says who did not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from domain.errors import Busy, ShardwiseError, Unreachable
from shards.connections.concurrency import gather_all
from shards.connections.database import Database
from shards.connections.database_errors import DatabaseFailure
from shards.connections.waiting import within
from shards.routing.shard_transaction import translating_errors

T = TypeVar("T")

# So that an installation of a hundred shards is not asked by a hundred connections of one process at the same moment.
SHARDS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Gathered(Generic[T]):
    """By shard, what it answered, or why it did not: then another attempt may succeed."""

    answers: Mapping[str, T]
    missing: Mapping[str, ShardwiseError]


async def scatter(
    shards: Mapping[str, Database],
    ask: Callable[[Database], Coroutine[Any, Any, T]],
    seconds: float,
    at_once: int = SHARDS_AT_ONCE,
) -> Gathered[T]:
    """`ask` of each shard, at most `at_once` of them at a time, each for at most `seconds`.

    Waits for all, so that everyone who is missing is named. Raises only what no other attempt would mend, such as wrong
    settings or rows. `ask` is not to change anything: what took too long may go on for a while.
    """
    turns = asyncio.Semaphore(at_once)
    answers: dict[str, T] = {}
    missing: dict[str, ShardwiseError] = {}

    async def get(name: str, shard: Database) -> None:
        async with turns:
            try:
                with translating_errors(name):
                    answers[name] = await within(ask(shard), seconds)
            except TimeoutError:
                missing[name] = Unreachable("shard_unreachable", f"{name} did not answer within {seconds:g} s")
            except (Unreachable, Busy) as error:
                missing[name] = error
            except DatabaseFailure as failure:
                missing[name] = Unreachable("shard_unreachable", f"{name} did not answer: {failure.message}")

    await gather_all(get(name, shard) for name, shard in shards.items())
    return Gathered(
        {name: answers[name] for name in shards if name in answers},
        {name: missing[name] for name in shards if name in missing},
    )
