"""Runs queries on the read model. All readers go through here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from shards.connections.database import Database
from shards.reading.lists import ListRead
from shards.routing.shard_transaction import translating_errors

T = TypeVar("T")

Query = Callable[[AsyncConnection], Awaitable[T]]


class ReadModel:
    """The read model follows the shards with a delay: recent writes may not be there yet, unless the read demands
    them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, query: Query[T], read: ListRead | None = None) -> T:
        """The query's result, as it is or at the level of `read`. Changes nothing. `Unreachable` if the read model is
        away, `NotAtPoint` if it does not come as far as the level demands, `SessionLost`.

        A query must be a single statement: between two statements the read model may be switched to a rebuilt version.
        """
        if read is None:
            return await self._run(query)
        await read.prepare()
        while True:
            with translating_errors(self._database.name):
                async with self._database.autocommit() as connection:
                    missing = await read.missing(connection)
                    if not missing:
                        result = await query(connection)
                        missing = await read.seen(connection)
                    if not missing:
                        return result
            await asyncio.sleep(await read.pause(missing))

    async def _run(self, query: Query[T]) -> T:
        with translating_errors(self._database.name):
            async with self._database.transaction() as connection:
                return await query(connection)


def not_in_read_model(code: str, what: str, where_else: str, field: str) -> NotFound:
    """`where_else`: the command that queries the shards, which may have it already."""
    message = f"the read model knows no {what}; it may not have it yet (`{where_else}` asks the shards)"
    return NotFound(code, message, field)
